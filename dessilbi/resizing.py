"""In-place changes of the number of channels of Linear, Conv and BatchNorm layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from bregman.modules import make_safe

#: Tensors of a BatchNorm layer with one entry per channel.
NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


def output_axis(layer: nn.Module) -> int:
    """The axis of the layer's weight that runs over its outputs."""
    return 1 if isinstance(layer, _ConvTransposeNd) else 0


def output_channels(layer: nn.Module) -> int:
    """Number of outputs of a Linear or Conv layer."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels  # pyright: ignore[reportReturnType, reportAttributeAccessIssue]


def input_channels(layer: nn.Module) -> int:
    """Number of inputs of a Linear or Conv layer."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels  # pyright: ignore[reportReturnType, reportAttributeAccessIssue]


def select_outputs(layer: nn.Module, index: Tensor) -> None:
    """Keep these outputs of a Linear or Conv layer, in this order."""
    axis = output_axis(layer)
    _replace(layer, "weight", _weight(layer).index_select(axis, index))
    if isinstance(layer.bias, Tensor):
        _replace(layer, "bias", layer.bias.detach().index_select(0, index))
    sync_sizes(layer)


def select_inputs(layer: nn.Module, index: Tensor, channels: int, *, outer: int = 1) -> None:
    """Keep these input channels of a Linear or Conv layer, in this order.

    Args:
        layer: The layer. Behind a flattening, a Linear layer reads several entries of each channel.
        index: Channels to keep.
        channels: Number of channels before.
        outer: Number of times that the sequence of all channels repeats; with 1 the entries of each
            channel lie side by side.
    """
    axis = 1 - output_axis(layer)
    weight = _weight(layer)
    places = torch.arange(weight.shape[axis], device=index.device).view(outer, channels, -1)
    kept = places.index_select(1, index).flatten()
    _replace(layer, "weight", weight.index_select(axis, kept))
    sync_sizes(layer)


def by_output(layer: nn.Module) -> Tensor:
    """The weight as ``(outputs, entries of an output)``, also of grouped transposed layers."""
    weight = _weight(layer)
    if not isinstance(layer, _ConvTransposeNd):
        return weight.flatten(1)
    grouped = weight.unflatten(0, (layer.groups, -1))  # (groups, in, out, *kernel)
    return grouped.transpose(1, 2).flatten(0, 1).flatten(1)


def clear_outputs(layer: nn.Module, dead: Tensor) -> None:
    """Set the weights of these outputs (bool, ``(outputs,)``) to zero, in place."""
    weight = _weight(layer)
    if isinstance(layer, _ConvTransposeNd):
        grouped = weight.unflatten(0, (layer.groups, -1)).transpose(1, 2)
        grouped[dead.to(weight.device).view(layer.groups, -1)] = 0.0
    else:
        weight[dead.to(weight.device)] = 0.0


def by_input(layer: nn.Module, channels: int, outer: int, tensor: Tensor | None = None) -> Tensor:
    """A view of the weight, or of a tensor like it, as ``(outputs, channels, outer, inner, *kernel)``."""
    like = _weight(layer) if tensor is None else tensor.detach()
    by_rows = like.transpose(0, output_axis(layer))
    return by_rows.unflatten(1, (outer, channels, -1)).transpose(1, 2)


def select_norm(layer: nn.Module, index: Tensor) -> None:
    """Keep these channels of a BatchNorm layer, in this order."""
    for name in NORM_TENSORS:
        tensor = getattr(layer, name)
        if tensor is not None:
            _replace(layer, name, tensor.detach().index_select(0, index))
    sync_sizes(layer)


def resize(layer: nn.Module, name: str, shape: torch.Size) -> None:
    """Give a parameter or buffer of a layer another shape; its values are lost."""
    old = getattr(layer, name)
    if old.shape != shape:
        _replace(layer, name, old.detach().new_zeros(shape))
        sync_sizes(layer)


def sync_sizes(layer: nn.Module) -> None:
    """Set the size attributes of a layer to the sizes of its tensors."""
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, _ConvNd):
        axis = output_axis(layer)
        outputs, inputs = layer.weight.shape[axis], layer.weight.shape[1 - axis]
        layer.out_channels = outputs * (layer.groups if axis else 1)
        layer.in_channels = inputs * (1 if axis else layer.groups)
        make_safe(layer)  # the layer may have few channels now
    elif isinstance(layer, _BatchNorm):
        for tensor in (layer.weight, layer.running_mean):
            if isinstance(tensor, Tensor):
                layer.num_features = tensor.shape[0]


def weight_of(layer: nn.Module) -> Tensor:
    """The weight of a Linear, Conv or BatchNorm layer."""
    assert isinstance(layer.weight, Tensor)
    return layer.weight


def _weight(layer: nn.Module) -> Tensor:
    return weight_of(layer).detach()


def _replace(layer: nn.Module, name: str, value: Tensor) -> None:
    """Replace a parameter or buffer by this value (an optimiser still holds the old one)."""
    old = getattr(layer, name)
    if isinstance(old, nn.Parameter):
        setattr(layer, name, nn.Parameter(value, requires_grad=old.requires_grad))
    else:
        setattr(layer, name, value)
