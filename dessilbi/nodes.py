"""What single nodes of a traced graph do to channels."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from bregman.modules import Conv2d

#: Layers that map zero to zero, entry by entry.
POINTWISE_MODULES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Identity),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d),
)
#: Layers that map zero to zero, channel by channel, and keep the channels as they are.
ZERO_MODULES = (
    *POINTWISE_MODULES,
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)
#: Functions and methods that do the same.
POINTWISE_CALLS = frozenset(
    {
        *(torch.relu, torch.tanh, functional.relu, functional.relu6, functional.leaky_relu),
        *(functional.elu, functional.gelu, functional.silu, functional.tanh, functional.dropout),
        *("relu", "relu_", "tanh", "contiguous", "clone"),
    }
)
ZERO_CALLS = POINTWISE_CALLS | {
    *(functional.max_pool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d),
}
ADDITIONS = frozenset({operator.add, operator.iadd, torch.add})


class Nothing(nn.Module):
    """In the place of a removed layer on a branch that is added to others: contributes zero."""

    def forward(self, inputs: Tensor) -> Tensor:
        """A single zero with as many axes as the inputs, to be broadcast by the addition."""
        return inputs.new_zeros((1,) * inputs.dim())


class PaddedShortcut(nn.Module):
    """The shortcut without weights: every `stride`-th pixel, and zeros or fewer channels around.

    It lets the layers on both sides grow by themselves, which a fixed padding does not.

    Args:
        outputs: Channels to pad or crop to, the old ones in the middle.
        stride: Step in both directions of the image.
    """

    def __init__(self, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.outputs = outputs
        self.stride = stride

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `(batch, channels, h, w)` to `(batch, outputs, h / stride, w / stride)`."""
        missing = self.outputs - inputs.shape[1]
        before = missing // 2  # negative: so many channels are cut off in front
        picture = inputs[:, :, :: self.stride, :: self.stride]
        return functional.pad(picture, (0, 0, 0, 0, before, missing - before))


class Tracer(fx.Tracer):
    """Takes the layers of this module and safe convolutions as they are, without looking into them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (Nothing, PaddedShortcut, Conv2d)) or super().is_leaf_module(
            m, module_qualified_name
        )


def called_layer(model: nn.Module, node: fx.Node) -> nn.Module | None:
    """The module that a node calls, or None."""
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def preserves_zero(model: nn.Module, node: fx.Node) -> bool:
    """Whether the node keeps its one input's channels and maps zero to zero."""
    if node.op == "call_module":
        layer = called_layer(model, node)
        if isinstance(layer, nn.Flatten):
            return layer.start_dim == 1
        return isinstance(layer, ZERO_MODULES)
    called = node.op in ("call_function", "call_method")
    return called and (node.target in ZERO_CALLS or _flattens(node))


def is_addition(node: fx.Node) -> bool:
    """Whether the node adds two tensors of the graph."""
    called = node.target in ADDITIONS or node.target in ("add", "add_")
    return node.op in ("call_function", "call_method") and called and len(_tensors(node)) == 2


def _tensors(node: fx.Node) -> list[fx.Node]:
    return [arg for arg in node.args if isinstance(arg, fx.Node)]


def _flattens(node: fx.Node) -> bool:
    """`torch.flatten(x, 1)`, `x.flatten(1)`, `x.view(x.size(0), -1)`, `x.mean((2, 3))`."""
    rest = list(node.args[1:])
    if node.target in (torch.flatten, "flatten"):
        return bool((rest or [node.kwargs.get("start_dim")])[0] == 1)
    if node.target in ("view", "reshape"):
        return len(rest) == 2 and isinstance(rest[0], fx.Node) and bool(rest[1] == -1)
    if node.target in (torch.mean, "mean"):
        dims = (rest or [node.kwargs.get("dim")])[0]
        return isinstance(dims, (tuple, list)) and set(dims) in ({2, 3}, {-2, -1})
    return False


def gives_size(node: fx.Node) -> bool:
    """Whether the result is a shape, or a number taken from one."""
    if node.op == "call_method":
        return node.target == "size"
    if node.target is getattr:
        return bool(node.args[1] == "shape")
    return node.target is operator.getitem and gives_size(_tensors(node)[0])
