"""Guaranteed upper bounds of the Lipschitz constant of a network, layer by layer.

The constant is that of the map from inputs to the network's outputs (logits, if the network returns
logits), in Euclidean norms, in evaluation mode and in exact arithmetic. The product of the layers'
bounds holds for all inputs and is usually much larger than the constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from bregman.modules import evaluating, uncompiled
from clip.composition import Bound, BoundError, Shape
from clip.evaluation import check_batch
from clip.hooks import prepare_hooks
from clip.rules import find_rule, overridden, replaced_methods, ruled_base
from clip.tracing import trace_bound

# Relative rounding error of a lower bound in float32, by which it may exceed the upper bound.
_TOLERANCE = 1e-5


def upper_bound(model: nn.Module, input_shape: Sequence[int]) -> float:
    """Bound the Lipschitz constant of a network from above.

    The bounds of layers in sequence multiply, those of branches that are added add. A module without a
    rule is traced by `torch.fx` if its forward consists of sub-modules and known operations, and it is
    compared with the traced graph on one input. Weights that are computed when they are read
    (parametrisations, `weight_norm`, `spectral_norm`, `torch.nn.utils.prune`) count with their present
    value. Other forward hooks are refused, because they may change what a module computes. Modules are
    refused, too, if the output for one image depends on the other images of its batch.

    Args:
        model: a module with one input; it runs in evaluation mode and is not changed.
        input_shape: shape of one input, without the batch.

    Raises:
        BoundError: a module or an operation has no rule, a module has forward hooks, or images of a
            batch are mixed; the message names the module and its type.
    """
    return _walk(model, input_shape)[0]


def layer_bounds(model: nn.Module, input_shape: Sequence[int]) -> dict[str, float]:
    """The bound of each layer, by its name, in the order in which the layers are applied.

    Their product is `upper_bound` for a network without branches; additions and concatenations of
    a residual network are not in the list. A layer that is used several times appears again as
    ``name#2``; an operation that a forward writes as a function and that has a factor other than 1
    appears as ``module.operation``.

    Args:
        model: see `upper_bound`.
        input_shape: see `upper_bound`.

    Raises:
        BoundError: as in `upper_bound`.
    """
    return _walk(model, input_shape)[1]


def check_bounds(lower: float, upper: float) -> None:
    """Check that a lower and an upper bound of one network do not contradict each other.

    Raises:
        BoundError: the lower bound exceeds the upper bound by more than a share of 1e-5, or one of them
            is NaN.
    """
    if not lower <= upper * (1 + _TOLERANCE):
        raise BoundError(
            f"the lower Lipschitz bound {lower:.6g} exceeds the upper bound {upper:.6g}: one of "
            "the two is wrong (take both of the same network in the same mode)"
        )


def _walk(model: nn.Module, input_shape: Sequence[int]) -> tuple[float, dict[str, float]]:
    original = uncompiled(model)
    walk = _Walk(original)
    # Tensors made in inference mode have no version counter, which tracing needs.
    with evaluating(original), torch.inference_mode(False), torch.no_grad():
        if model is not original:
            walk.refuse_hooks(model)
        value = walk.bound(original, tuple(input_shape)).value
        walk.refuse_mixing(original, tuple(input_shape))
    return value, walk.contributions


class _Walk:
    """One pass over a network, which notes the factor of each module by its name."""

    def __init__(self, model: nn.Module) -> None:
        self.contributions: dict[str, float] = {}
        self._names = {module: name for name, module in model.named_modules()}

    def bound(self, module: nn.Module, shape: Shape) -> Bound:
        """Bound a module of the network at an input shape; rules get this method as their callback."""
        known = len(self.contributions)
        try:
            result = self._apply(module, shape)
        except BoundError:
            raise
        except ValueError as error:
            raise BoundError(f"{self._describe(module)}: {error}") from error
        if not (math.isfinite(result.value) and result.value >= 0):
            raise BoundError(
                f"{self._describe(module)}: the bound is {result.value}, not a finite number"
            )
        if len(self.contributions) == known:
            self._record(self._name(module), result.value)
        return result

    def refuse_hooks(self, module: nn.Module) -> None:
        """Refuse modules whose hooks may change their outputs; run hooks that compute weights."""
        try:
            prepare_hooks(module)
        except ValueError as error:
            raise BoundError(f"{self._describe(module)}: {error}") from error

    def refuse_mixing(self, module: nn.Module, shape: Shape) -> None:
        """Refuse modules for which the output of an image depends on the other images of its batch."""
        try:
            check_batch(module, shape)
        except ValueError as error:
            raise BoundError(f"{self._describe(module)}: {error}") from error

    def _apply(self, module: nn.Module, shape: Shape) -> Bound:
        self.refuse_hooks(module)
        rule = find_rule(module)
        if rule is not None:
            return rule(module, shape, self.bound)
        replaced = replaced_methods(module)
        if type(module).__module__.startswith("torch.nn.modules"):
            if replaced:
                raise ValueError(
                    f"{', '.join(replaced)} was replaced on this object: bound unknown"
                )
            raise ValueError("this type has no rule: see clip.register_rule")
        try:
            return self._trace(module, shape)
        except BoundError:
            raise
        except ValueError as error:
            base = ruled_base(module)
            if base is None or replaced:
                raise
            names = ", ".join(overridden(type(module), base))
            raise ValueError(
                f"overrides {names} of {base.__name__}, whose rule therefore need not hold, and {error} "
                "(or clip.accept_subclass, if it computes what its base does)"
            ) from error

    def _trace(self, module: nn.Module, shape: Shape) -> Bound:
        prefix = f"{self._names[module]}." if self._names.get(module) else ""

        def record(operation: str, value: float) -> None:
            # A module without sub-modules is one layer, which is noted as a whole.
            if any(module.children()):
                self._record(prefix + operation, value)

        return trace_bound(module, shape, self.bound, record)

    def _record(self, name: str, value: float) -> None:
        uses = 1
        key = name
        while key in self.contributions:
            uses += 1
            key = f"{name}#{uses}"
        self.contributions[key] = value

    def _name(self, module: nn.Module) -> str:
        return self._names.get(module) or type(module).__name__

    def _describe(self, module: nn.Module) -> str:
        name = self._names.get(module)
        kind = type(module).__name__
        return f"module {name!r} ({kind})" if name else f"module of type {kind}"
