"""Comparison of smaller networks with their originals: equal shapes, and values up to rounding."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from dessilbi.probing import (
    ERRORS,
    NO_INPUTS,
    Example,
    Inputs,
    Probe,
    first_line,
    fitting,
    shadow,
    traced,
)

#: Largest differences, relative to the largest output, that count as rounding: in double precision, and
#: in units of the machine epsilon of a network that was rounded to, or only runs in, its own precision.
TOLERANCE = 1e-10
ROUNDINGS = 100


class OutputsChangedError(ValueError):
    """A smaller network does not give the outputs of its original."""


class Original:
    """A network and its outputs on a probe, with which smaller copies are compared.

    Args:
        model: The network. It is not changed, and its outputs are those of evaluation mode.
        example: See `Probe`.

    Attributes:
        probe: The inputs.
        copied: A copy to be made smaller, in double precision where the network allows it.

    Raises:
        ValueError: See `Probe`; or the traced graph computes something else than the network, the
            network calls other layers in training mode than in evaluation mode, or its outputs are not
            finite.
    """

    def __init__(self, model: nn.Module, example: Example | Probe | None = None) -> None:
        self._model = model
        self.probe = example if isinstance(example, Probe) else Probe(model, example)
        _check_modes(model)
        self.copied, self._expected = _confirmed(model, self.probe)
        single = any(param.dtype is torch.float32 for param in model.parameters())
        _check_trace(model if single else self.copied, self.probe)  # float32 is faster

    def check(self, small: nn.Module) -> None:
        """Compare a network, in the precision of `copied`, with the original.

        Raises:
            OutputsChangedError: The outputs differ in shape, or by more than rounding.
        """
        for inputs, expected in zip(self.probe.compared, self._expected, strict=True):
            try:
                found = _outputs(small, inputs)
            except ERRORS as error:
                raise OutputsChangedError(
                    "removal changed the outputs: the smaller network does not run "
                    f"({first_line(error)}); {_ADVICE}"
                ) from error
            _check_same(expected, found)

    @torch.no_grad()
    def in_own_precision(self, small: nn.Module) -> nn.Module:
        """Convert `small` to the dtypes of the original; a new bias gets the dtype of its weight."""
        kinds = {name: tensor.dtype for name, tensor in _tensors(self._model).items()}
        for path, module in small.named_modules():
            prefix = f"{path}." if path else ""
            weight = kinds.get(f"{prefix}weight")
            for name, param in module._parameters.items():
                kind = kinds.get(f"{prefix}{name}", weight)
                if param is not None and kind is not None:
                    param.data = param.data.to(kind)
            for name, buffer in module._buffers.items():
                if buffer is not None and f"{prefix}{name}" in kinds:
                    module._buffers[name] = buffer.to(kinds[f"{prefix}{name}"])
        return small


def compare_outputs(model: nn.Module, small: nn.Module, example: Example) -> None:
    """Compare a finished smaller copy of a network with the original, in evaluation mode.

    Both networks run in double precision. The tolerance covers the rounding of the copy's parameters to
    their own dtype.

    Raises:
        OutputsChangedError: A `ValueError`: the outputs on `example` differ in shape, or by more
            than rounding.
        ValueError: The outputs of the original are not finite.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    kinds = [p.dtype for net in (model, small) for p in net.parameters() if p.is_floating_point()]
    roundings = max((ROUNDINGS * torch.finfo(kind).eps for kind in kinds), default=TOLERANCE)
    copied, (expected,) = _precise(model, [inputs])
    double = any(p.dtype is torch.float64 for p in copied.parameters())
    other = copy.deepcopy(small).double() if double else small
    _check_same(expected, _outputs(other, inputs), relative=max(roundings, TOLERANCE))


_ADVICE = (
    "the network does something that the traced graph does not show (a change in place of a value "
    "used later, a test on values, random numbers)"
)


def _precise(model: nn.Module, batches: list[Inputs]) -> tuple[nn.Module, list[list[Any]]]:
    """A copy in double precision, or in its own if the network runs in no other, and its outputs."""
    try:
        copied = copy.deepcopy(model).double()
        return copied, [_outputs(copied, inputs) for inputs in batches]
    except ERRORS:  # the forward pass runs in its own precision only
        copied = copy.deepcopy(model)
        return copied, [_outputs(copied, inputs) for inputs in batches]


@torch.no_grad()
def _outputs(model: nn.Module, inputs: Inputs) -> list[Any]:
    """Outputs of a copy of a network in evaluation mode, as a flat list of tensors and other values."""
    copied = copy.deepcopy(model).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _leaves(copied(*fitting(copied, inputs)))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in _leaves(part)]
    if isinstance(value, Mapping):
        return [leaf for key in value for leaf in (key, *_leaves(value[key]))]
    return [value]


def _check_same(
    expected: list[Any], found: list[Any], *, what: str = "removal", relative: float | None = None
) -> None:
    if len(expected) != len(found):
        raise OutputsChangedError(
            f"{what} changed the outputs: {len(found)} of them, not {len(expected)}; {_ADVICE}"
        )
    for one, other in zip(expected, found, strict=True):
        if not isinstance(one, Tensor) or not isinstance(other, Tensor):
            if type(one) is not type(other) or one != other:
                raise OutputsChangedError(
                    f"{what} changed the outputs from {one!r} to {other!r}; {_ADVICE}"
                )
            continue
        _check_tensor(one, other, what, relative)


def _check_tensor(expected: Tensor, found: Tensor, what: str, relative: float | None) -> None:
    if expected.shape != found.shape:
        raise OutputsChangedError(
            f"{what} changed the outputs from shape {tuple(expected.shape)} to "
            f"{tuple(found.shape)}; {_ADVICE}"
        )
    if not expected.is_floating_point() and not expected.is_complex():
        if not torch.equal(expected, found):
            raise OutputsChangedError(f"{what} changed the outputs, which are integers; {_ADVICE}")
        return
    if not expected.isfinite().all():
        raise ValueError(
            "the outputs of the network on the example are not finite and cannot be compared: pass "
            "another example="
        )
    if not expected.numel():
        return
    size, error = expected.abs().max(), (expected - found).abs().max()
    kind = torch.finfo(expected.dtype)
    if relative is None:
        relative = TOLERANCE if kind.eps < TOLERANCE else ROUNDINGS * kind.eps
    if not error <= relative * size + 100 * kind.tiny:
        raise OutputsChangedError(
            f"{what} changed the outputs by {float(error):.3g} (largest output "
            f"{float(size):.3g}); {_ADVICE}"
        )


def _confirmed(model: nn.Module, probe: Probe) -> tuple[nn.Module, list[list[Any]]]:
    """See `_precise`; made-up inputs that the network does not accept are dropped from the probe.

    torch checks fewer conditions on the `meta` device, where the probe has tried them.
    """
    while probe.inputs:
        try:
            return _precise(model, probe.compared)
        except ERRORS as error:
            wrong = [id(inputs) for inputs in probe.compared if not _runs(model, inputs)]
            if not wrong or (probe.given and id(probe.inputs[-1]) in wrong):
                message = f"the network does not accept the example: {first_line(error)}"
                raise ValueError(message) from error
            probe.inputs = [inputs for inputs in probe.inputs if id(inputs) not in wrong]
    raise ValueError(NO_INPUTS)


def _runs(model: nn.Module, inputs: Inputs) -> bool:
    try:
        _outputs(model, inputs)
    except ERRORS:
        return False
    return True


def _check_trace(model: nn.Module, probe: Probe) -> None:
    """Refuse networks whose traced graph gives other outputs; both are computed in one precision."""
    graph = traced(copy.deepcopy(model).eval())
    for inputs in probe.compared:
        _check_same(_outputs(model, inputs), _outputs(graph, inputs), what="tracing")


def _check_modes(model: nn.Module) -> None:
    """Refuse networks that call other layers in training mode, in which outputs are not compared."""
    if not any(module.training for module in model.modules()):
        return
    kinds = [traced(shadow(model, as_is=as_is)).graph for as_is in (False, True)]
    if _steps(kinds[0]) != _steps(kinds[1]):
        raise OutputsChangedError(
            "removal could have changed the outputs: the network calls other layers in training mode "
            "than in evaluation mode, in which outputs are compared (call eval() before)"
        )


def _steps(graph: fx.Graph) -> list[tuple[str, str, list[int]]]:
    """The calls of a graph and their inputs, without constants such as `training` of a dropout."""
    number = {node: index for index, node in enumerate(graph.nodes)}
    return [
        (node.op, str(node.target), [number[source] for source in node.all_input_nodes])
        for node in graph.nodes
    ]


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    named = dict(model.named_parameters(remove_duplicate=False))
    return named | dict(model.named_buffers(remove_duplicate=False))
