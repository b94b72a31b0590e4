"""Inputs on which a network is compared, and the shapes of its tensors for these inputs.

Shapes are found on torch's `meta` device, which computes no values and costs next to nothing. Without an
example, inputs are tried that the first layer could read: images of several sizes, features, tokens. All
kinds of inputs that the network accepts are kept, so that a removal is right for each of them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from bregman.layers import check_plain_weights
from dessilbi.candidates import candidate_shapes
from dessilbi.layouts import Shape
from dessilbi.nodes import Tracer

#: Arguments of a forward pass: one tensor per input of the network.
Inputs = tuple[Tensor, ...]
Example = Tensor | tuple[Tensor, ...]

#: Number of shapes that are kept for one number of axes.
_KEPT = 2
#: Errors that a forward pass raises on inputs that it does not accept.
ERRORS = (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError, AssertionError)


NO_INPUTS = (
    "no inputs could be made up on which this network can be compared: pass example=, a batch of its "
    "inputs"
)


class Probe:
    """Batches on which a network is compared with its smaller copies.

    Args:
        model: The network, which is not changed.
        example: A batch of inputs, or a tuple of inputs for a network with several; None for made-up
            inputs.

    Attributes:
        inputs: Batches that the network accepts; shapes are taken from the first one.
        given: Whether the user gave an example.

    Raises:
        ValueError: The network cannot be traced or does not accept the example, or no example is given
            and no inputs could be made up.
    """

    def __init__(self, model: nn.Module, example: Example | None = None) -> None:
        self.given = example is not None
        nodes = trace(model)
        if example is not None:
            self.inputs = _given_inputs(model, nodes, example)
        else:
            self.inputs = _made_up(model, nodes)
        if not self.inputs:
            raise ValueError(NO_INPUTS)

    @property
    def compared(self) -> list[Inputs]:
        """The batches on which outputs are compared: the smallest made-up ones of each rank."""
        smallest: dict[int, Inputs] = {}
        for batch in sorted(self.inputs, key=lambda batch: batch[0].numel()):
            smallest.setdefault(batch[0].dim(), batch)
        return self.inputs if self.given else list(smallest.values())


def trace(model: nn.Module) -> list[fx.Node]:
    """The nodes of a network's graph in evaluation mode, in the order of evaluation.

    Raises:
        ValueError: The network cannot be traced, or layers compute their weights.
    """
    return list(traced(shadow(model)).graph.nodes)


def traced(model: nn.Module) -> fx.GraphModule:
    """The graph module of a network, which shares the network's layers.

    Raises:
        ValueError: The network cannot be traced.
    """
    try:
        return fx.GraphModule(model, Tracer().trace(model))
    except (*ERRORS, AttributeError, KeyError, TraceError) as error:
        raise ValueError(f"the network cannot be traced: {first_line(error)}") from error


def shadow(model: nn.Module, *, as_is: bool = False) -> nn.Module:
    """A copy without values, on torch's `meta` device, in evaluation mode unless `as_is`.

    Raises:
        ValueError: Layers compute their weights.
    """
    check_plain_weights(model)
    memo: dict[int, Any] = {}
    for param in model.parameters():
        empty = torch.empty_like(param, device="meta")
        memo[id(param)] = nn.Parameter(empty, requires_grad=param.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    copied = copy.deepcopy(model, memo)
    return copied if as_is else copied.eval()


def run_shapes(model: nn.Module, nodes: Sequence[fx.Node], inputs: Inputs) -> dict[fx.Node, Shape]:
    """The shape of every node that is a tensor.

    Args:
        model: The network, not changed.
        nodes: Nodes of the network's graph.
        inputs: One batch.

    Raises:
        ValueError: The network changes in place a value that it uses later.
        RuntimeError: The network does not accept the inputs; other errors of its forward pass, too.
    """
    try:
        return _Shapes(shadow(model), nodes).shapes_of(inputs)
    except ChangedInPlaceError:
        raise
    except ERRORS:
        # Some operations need values: a copy of the network runs instead of the shadow.
        return _Shapes(copy.deepcopy(model).eval(), nodes).shapes_of(inputs)


class ChangedInPlaceError(ValueError):
    """A forward pass changes a value in place and uses it later."""


class _Shapes(fx.Interpreter):
    """Runs a graph, notes shapes, and raises an error if a changed value is used later."""

    def __init__(self, model: nn.Module, nodes: Sequence[fx.Node]) -> None:
        super().__init__(fx.GraphModule(model, nodes[0].graph))
        self._model, self._nodes = model, nodes
        self.extra_traceback = False  # otherwise torch wraps errors of this class
        self._found: dict[str, Shape] = {}

    @torch.no_grad()
    def shapes_of(self, inputs: Inputs) -> dict[fx.Node, Shape]:
        self._found = {}
        with torch.random.fork_rng():
            self.run(*fitting(self._model, inputs))
        return {n: self._found[n.name] for n in self._nodes if n.name in self._found}

    def run_node(self, n: fx.Node) -> Any:
        """Compute a node's value; values that later nodes use must not change."""
        finished = set(self.user_to_last_uses.get(n, []))
        needed = {
            node: value._version
            for node, value in self.env.items()
            if isinstance(value, Tensor) and node not in finished
        }
        value = super().run_node(n)
        for node, version in needed.items():
            if self.env[node]._version != version:
                raise ChangedInPlaceError(
                    f"{n.name!r} changes the output of {node.name!r} in place, which is used later: "
                    "write this part of the forward without changes in place"
                )
        if isinstance(value, Tensor):
            self._found[n.name] = tuple(value.shape)
        return value


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if the message is empty."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def fitting(model: nn.Module, inputs: Inputs) -> Inputs:
    """Copies of inputs, on the device and in the precision of a network."""
    param = next(model.parameters(), None)
    device = inputs[0].device if param is None else param.device
    return tuple(
        tensor.detach().clone().to(device=device, dtype=_dtype_for(model, tensor))
        for tensor in inputs
    )


def _dtype_for(model: nn.Module, tensor: Tensor) -> torch.dtype:
    """Floating inputs take the type of the network's parameters, others keep their own."""
    found = next((p.dtype for p in model.parameters() if p.is_floating_point()), tensor.dtype)
    return found if tensor.is_floating_point() else tensor.dtype


def _given_inputs(model: nn.Module, nodes: list[fx.Node], example: Example) -> list[Inputs]:
    inputs = example if isinstance(example, tuple) else (example,)
    try:
        run_shapes(model, nodes, inputs)
    except ChangedInPlaceError:
        raise
    except ERRORS as error:
        message = f"the network does not accept the example: {first_line(error)}"
        raise ValueError(message) from error
    if any(tensor.dim() == 0 or len(tensor) != 1 for tensor in inputs):
        return [inputs]
    # With a single sample, a broadcast along the batch goes unnoticed: compare several samples, too.
    several = tuple(torch.cat([tensor, tensor.flip(-1), tensor]) for tensor in inputs)
    accepted = _accepts(_Shapes(shadow(model), nodes), several)
    return [several, inputs] if accepted else [inputs]


def _accepts(shapes: _Shapes, inputs: Inputs) -> bool:
    try:
        shapes.shapes_of(inputs)
    except ChangedInPlaceError:
        raise
    except ERRORS:
        return False
    return True


def _made_up(model: nn.Module, nodes: list[fx.Node]) -> list[Inputs]:
    kept: list[Inputs] = []
    found: set[Shape] = set()
    tried = _Shapes(shadow(model), nodes)
    for shape in candidate_shapes(model, nodes):
        if shape is None and found:  # later shapes are tried only if none was accepted
            break
        if shape is None:
            continue
        alike = [known for known in found if len(known) == len(shape)]
        if shape in found or len(alike) == _KEPT:
            continue
        if _accepts(tried, (torch.empty(shape, device="meta"),)):
            found.add(shape)
            kept.append((_noise(shape),))
    return kept


def _noise(shape: Shape) -> Tensor:
    """Normal noise of which each sample has another scale, from 0.1 to 10."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(-1, 1, shape[0]).view(-1, *[1] * (len(shape) - 1))
    return scales * torch.randn(shape, generator=generator)
