"""Classes of single nodes of a traced graph by their effect on channels."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from bregman.layers import WEIGHT_LAYERS

#: Layers that map zero to zero, entry by entry.
POINTWISE_MODULES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Softsign, nn.Hardswish, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink),
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
)
#: Functions and methods that map zero to zero, entry by entry.
POINTWISE_CALLS = frozenset(
    {
        *(torch.relu, torch.relu_, torch.tanh, torch.selu, torch.celu),
        *(functional.relu, functional.relu6, functional.leaky_relu, functional.elu),
        *(functional.gelu, functional.silu, functional.mish, functional.tanh, functional.selu),
        *(functional.celu, functional.softsign, functional.hardswish),
        *(functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d),
        *("relu", "relu_", "tanh", "tanh_", "contiguous", "clone"),
    }
)
#: Pooling layers, with the number of last axes over which they pool.
POOLING_MODULES: dict[type[nn.Module], int] = {
    **dict.fromkeys((nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d), 1),
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d), 2),
    **dict.fromkeys((nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d), 3),
}
POOLING_CALLS: dict[object, int] = {
    **dict.fromkeys((functional.max_pool1d, torch.max_pool1d, functional.avg_pool1d), 1),
    **dict.fromkeys((functional.max_pool2d, torch.max_pool2d, functional.avg_pool2d), 2),
    **dict.fromkeys((functional.max_pool3d, torch.max_pool3d, functional.avg_pool3d), 3),
    functional.adaptive_avg_pool1d: 1,
    functional.adaptive_avg_pool2d: 2,
    functional.adaptive_avg_pool3d: 3,
}
ADDITIONS = frozenset({operator.add, operator.iadd, torch.add, "add", "add_"})
SUBTRACTIONS = frozenset({operator.sub, operator.isub, torch.sub, "sub", "sub_"})
#: Additions and subtractions that write into their first summand.
WRITING = frozenset({operator.iadd, operator.isub, "add_", "sub_"})
MULTIPLICATIONS = frozenset({operator.mul, operator.imul, torch.mul, "mul", "mul_"})
DIVISIONS = frozenset({operator.truediv, operator.itruediv, torch.div, "div", "div_"})
NEGATIONS = frozenset({operator.neg, torch.neg, "neg", "neg_"})


class Nothing(nn.Module):
    """Takes the place of a removed layer on a branch of a sum and outputs zero.

    Args:
        whole: Output zeros of the shape of the inputs, for an addition that writes into the branch.
    """

    whole = False  # for networks that were pickled before the option existed

    def __init__(self, *, whole: bool = False) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, inputs: Tensor) -> Tensor:
        """A single zero with as many axes as the inputs, to be broadcast by the addition."""
        return torch.zeros_like(inputs) if self.whole else inputs.new_zeros((1,) * inputs.dim())


class PaddedShortcut(nn.Module):
    """A shortcut without weights, which takes every `stride`-th pixel and pads or crops channels.

    Layers before and behind the shortcut can grow independently, because the padding follows the
    number of input channels.

    Args:
        outputs: Number of output channels; the input channels lie in the middle.
        stride: Step in both directions of the image.
    """

    def __init__(self, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.outputs = outputs
        self.stride = stride

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `(batch, channels, h, w)` to `(batch, outputs, ceil(h / stride), ceil(w / stride))`."""
        missing = self.outputs - inputs.shape[1]
        before = missing // 2  # a negative number of channels is cropped in front
        picture = inputs[:, :, :: self.stride, :: self.stride]
        return functional.pad(picture, (0, 0, 0, 0, before, missing - before))


class _Proxy(fx.Proxy):
    """Records `+=` and other in-place operators as changes in place; torch records `+`."""

    def __iadd__(self, other: object) -> fx.Proxy:
        return self._in_place(operator.iadd, other)

    def __isub__(self, other: object) -> fx.Proxy:
        return self._in_place(operator.isub, other)

    def __imul__(self, other: object) -> fx.Proxy:
        return self._in_place(operator.imul, other)

    def __itruediv__(self, other: object) -> fx.Proxy:
        return self._in_place(operator.itruediv, other)

    def __ifloordiv__(self, other: object) -> fx.Proxy:
        return self._in_place(operator.ifloordiv, other)

    def __imod__(self, other: object) -> fx.Proxy:
        return self._in_place(operator.imod, other)

    def __ipow__(self, other: object) -> fx.Proxy:
        return self._in_place(operator.ipow, other)

    def __iand__(self, other: object) -> fx.Proxy:
        return self._in_place(operator.iand, other)

    def __ior__(self, other: object) -> fx.Proxy:
        return self._in_place(operator.ior, other)

    def _in_place(self, function: Callable[..., object], other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})


class Tracer(fx.Tracer):
    """A tracer with the layers of this module, and layers that compute as torch's, as leaves.

    A subclass of a torch layer with its own `forward` is traced through, because it may use its weight
    in another way than torch.
    """

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, (Nothing, PaddedShortcut)):
            return True
        if isinstance(m, (*WEIGHT_LAYERS, _BatchNorm)):
            return computes_as_torch(m)
        return super().is_leaf_module(m, module_qualified_name)


def computes_as_torch(layer: nn.Module) -> bool:
    """Whether `forward` is torch's own, or that of a layer of `bregman`, which gives the same outputs."""
    names = ("forward", "_conv_forward")
    methods = [getattr(type(layer), name) for name in names if hasattr(type(layer), name)]
    return not any(name in layer.__dict__ for name in names) and all(
        method.__module__.startswith(("torch.nn.modules.", "bregman.")) for method in methods
    )


def called_layer(model: nn.Module, node: fx.Node) -> nn.Module | None:
    """The module that a node calls, or None."""
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def is_call(node: fx.Node) -> bool:
    """Whether the node calls a function or a method."""
    return node.op in ("call_function", "call_method")


def pooled_axes(layer: nn.Module | None, node: fx.Node) -> int:
    """The number of last axes over which a node pools; 0 if it is no known pooling."""
    if layer is not None:
        return next((n for kind, n in POOLING_MODULES.items() if isinstance(layer, kind)), 0)
    return POOLING_CALLS.get(node.target, 0) if is_call(node) else 0


def is_pointwise(layer: nn.Module | None, node: fx.Node) -> bool:
    """Whether the node maps every entry by itself, and zero to zero."""
    if layer is not None:
        return isinstance(layer, POINTWISE_MODULES)
    return is_call(node) and node.target in POINTWISE_CALLS


def scale_factor(node: fx.Node) -> float | None:
    """The number by which a node multiplies a tensor; None for any other node."""
    if not is_call(node) or node.kwargs:
        return None
    if node.target in NEGATIONS and len(node.args) == 1:
        return -1.0
    if len(node.args) != 2:
        return None
    first, second = node.args
    if node.target in MULTIPLICATIONS and isinstance(first, (int, float)):
        first, second = second, first
    if not isinstance(first, fx.Node) or not isinstance(second, (int, float)):
        return None
    if node.target in MULTIPLICATIONS and math.isfinite(second):
        return float(second)
    return 1.0 / second if node.target in DIVISIONS and second else None


@dataclass(frozen=True)
class Summand:
    """One of the two tensors that a node adds, and the number in front of it."""

    node: fx.Node
    factor: float


def summands(node: fx.Node) -> tuple[Summand, Summand] | None:
    """The two summands of an addition or subtraction (factor -1); None for any other node."""
    minus = node.target in SUBTRACTIONS
    if not is_call(node) or not (minus or node.target in ADDITIONS):
        return None
    named = dict(node.kwargs)
    given = [*node.args, *(named.pop(key) for key in ("input", "other") if key in named)]
    alpha = named.pop("alpha", 1)
    if named or len(given) != 2 or not isinstance(alpha, (int, float)):
        return None
    first, second = given
    if not isinstance(first, fx.Node) or not isinstance(second, fx.Node):
        return None
    return Summand(first, 1.0), Summand(second, float(-alpha if minus else alpha))


def is_addition(node: fx.Node) -> bool:
    """Whether the node adds or subtracts two tensors of the graph."""
    return summands(node) is not None


def gives_size(node: fx.Node) -> bool:
    """Whether the result is a shape, or a number taken from one."""
    if node.op == "call_method":
        return node.target in ("size", "dim", "numel")
    if node.target is getattr:
        return bool(node.args[1] in ("shape", "ndim"))
    first = node.args[0] if node.args else None
    return node.target is operator.getitem and isinstance(first, fx.Node) and gives_size(first)
