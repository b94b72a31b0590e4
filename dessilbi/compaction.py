"""Compaction: removal of all units that a sparse network does not need, whatever made it sparse.

`shrink` takes away channels that are zero. Sparse training leaves two more kinds that can go without
changing what the network computes: *constant* channels, whose unit has no incoming weights and so
shows its activated bias to everybody, and *unread* channels, for which no later layer has a weight.
The former are moved into the biases of the layers that read them, the latter are set to zero, and
`shrink` does the rest.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from bregman.layers import WEIGHT_LAYERS
from dessilbi.graph import ChannelGraph
from dessilbi.nodes import POINTWISE_CALLS, POINTWISE_MODULES, preserves_zero
from dessilbi.removal import compare_outputs, shrink
from dessilbi.resizing import output_axis

#: Module classes and functions that do nothing to a constant image in evaluation mode.
_KEEP_MODULES = (
    *(nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)
_KEEP_CALLS = frozenset({functional.dropout, functional.max_pool2d, functional.adaptive_avg_pool2d})


@torch.no_grad()
def compact(model: nn.Module, *, example: Tensor | None = None) -> nn.Module:
    """A physically smaller copy of a sparse network, with the same outputs in evaluation mode.

    At least one channel of each layer stays, and so do the inputs of the network. A constant
    channel stays where a convolution pads what it reads by zeros: there it is not constant.

    Args:
        model: A network that `torch.fx` can trace; not changed.
        example: An input batch on which the outputs are compared, in evaluation mode.

    Raises:
        ValueError: The outputs on `example` differ by more than rounding.
    """
    small = copy.deepcopy(model)
    size = None
    while size != (size_now := sum(parameter.numel() for parameter in small.parameters())):
        size = size_now
        graph = ChannelGraph(small)
        _fold_constants(graph)
        _silence_unread(graph)
        small = shrink(small)  # may leave more units without weights: once more
    if example is not None:
        compare_outputs(model, small, example)
    return small


def _fold_constants(graph: ChannelGraph) -> None:
    """Add what constant channels give their readers to the readers' biases, and stop reading them."""
    values = _constants(graph)
    own = _own_layers(graph)
    for node in graph.nodes:
        layer = graph.layer(node)
        if not isinstance(layer, WEIGHT_LAYERS) or layer not in own or not _reads_evenly(layer):
            continue
        source = node.all_input_nodes[0]
        space = graph.space(source)
        if space is None or space.fixed is not None or source not in values:
            continue
        constant = ~values[source].isnan()
        columns = _by_input(layer, space.channels)
        given = columns.flatten(2).sum(dim=2) @ values[source].nan_to_num(0.0)
        if layer.bias is None:
            layer.bias = nn.Parameter(given)
        else:
            layer.bias.add_(given)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        columns[:, constant] = 0.0


def _silence_unread(graph: ChannelGraph) -> None:
    """Set to zero what makes channels for which no layer has a weight."""
    own = _own_layers(graph)
    for space in graph.spaces:
        makers = [graph.model.get_submodule(name) for name in space.producers]
        if space.fixed is not None or not space.readers or not own.issuperset(makers):
            continue
        unread = torch.ones(space.channels, dtype=torch.bool)
        for name in space.readers:
            columns = _by_input(graph.model.get_submodule(name), space.channels)
            unread &= (columns == 0).flatten(2).all(dim=2).all(dim=0).cpu()
        for layer in (*makers, *map(graph.model.get_submodule, space.norms)):
            axis = output_axis(layer) if isinstance(layer, WEIGHT_LAYERS) else 0
            for tensor in (layer.weight.transpose(0, axis), layer.bias):  # pyright: ignore[reportCallIssue]
                if isinstance(tensor, Tensor):
                    tensor[unread.to(tensor.device)] = 0.0


def _constants(graph: ChannelGraph) -> dict[fx.Node, Tensor]:
    """The value of every channel that is one number for all inputs and pixels, NaN for the others.

    Nodes without known channels are left out.
    """
    values: dict[fx.Node, Tensor] = {}
    for node in graph.nodes:
        space = graph.space(node)
        found = torch.zeros(1) if space is None else _value(graph, node, values)
        if found is not None and (space is None or found.shape == (space.channels,)):
            values[node] = found
    return values


def _value(graph: ChannelGraph, node: fx.Node, values: dict[fx.Node, Tensor]) -> Tensor | None:
    layer = graph.layer(node)
    if isinstance(layer, WEIGHT_LAYERS):
        return _value_of_outputs(layer)
    sources = [values.get(source) for source in node.all_input_nodes]
    known = [source for source in sources if source is not None]
    if not known or len(known) < len(sources):
        return None
    if isinstance(layer, _BatchNorm):
        return _normalised(layer, known[0]) if graph.is_norm(node) else None
    if graph.is_addition(node):
        return known[0].to(known[1]) + known[1] if len(known) == 2 else None
    if not preserves_zero(graph.model, node):
        return None
    return _mapped(node, layer, known[0])


def _value_of_outputs(layer: nn.Module) -> Tensor | None:
    """The bias where a unit has no weights."""
    weight: Tensor = layer.weight.detach()  # pyright: ignore[reportCallIssue, reportAssignmentType, reportAttributeAccessIssue]
    empty = (weight.transpose(0, output_axis(layer)).flatten(1) == 0).all(dim=1)
    bias = layer.bias if isinstance(layer.bias, Tensor) else weight.new_zeros(len(empty))
    if bias.shape != empty.shape:  # transposed convolutions in groups
        return None
    return torch.where(empty, bias, torch.nan)


def _normalised(norm: _BatchNorm, value: Tensor) -> Tensor | None:
    if norm.running_mean is None or norm.running_var is None:
        return None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shifted = (value - norm.running_mean) * scale + norm.bias
    return torch.where(norm.weight == 0, norm.bias, shifted)


def _mapped(node: fx.Node, layer: nn.Module | None, value: Tensor) -> Tensor | None:
    """A constant behind an activation, pooling or flattening; None where it need not stay one."""
    if isinstance(layer, _KEEP_MODULES) or node.target in _KEEP_CALLS:
        return value
    if isinstance(layer, (nn.AvgPool1d, nn.AvgPool2d)):
        even = layer.padding in (0, (0,), (0, 0)) or not layer.count_include_pad
        return value if even and getattr(layer, "divisor_override", None) is None else None
    if isinstance(layer, POINTWISE_MODULES):
        return layer(value.clone())
    if node.target in POINTWISE_CALLS:
        target: Any = getattr(Tensor, str(node.target)) if node.op == "call_method" else node.target
        return target(value.clone(), *node.args[1:], **node.kwargs)
    # What is left flattens or averages over pixels, or pools with padding.
    return None if node.target is functional.avg_pool2d else value


def _own_layers(graph: ChannelGraph) -> set[nn.Module]:
    """Layers that are called once and share their weight with no other."""
    layers = [layer for node in graph.nodes if (layer := graph.layer(node)) is not None]
    calls = Counter(layers)
    weights = Counter(id(layer.weight) for layer in calls if isinstance(layer, WEIGHT_LAYERS))
    return {
        layer
        for layer, count in calls.items()
        if count == 1 and isinstance(layer, WEIGHT_LAYERS) and weights[id(layer.weight)] == 1
    }


def _reads_evenly(layer: nn.Module) -> bool:
    """Whether a constant channel adds the same to every pixel of the layer's output."""
    if isinstance(layer, nn.Linear):
        return True
    if not isinstance(layer, _ConvNd) or isinstance(layer, _ConvTransposeNd) or layer.groups != 1:
        return False
    if layer.padding_mode != "zeros" or layer.padding == "valid":
        return True
    return max(layer.kernel_size) == 1 if layer.padding == "same" else not any(layer.padding)


def _by_input(layer: nn.Module, channels: int) -> Tensor:
    """A view of the weight as ``(outputs, channels, entries of a channel, *kernel)``."""
    weight: Tensor = layer.weight.detach()  # pyright: ignore[reportCallIssue, reportAssignmentType, reportAttributeAccessIssue]
    return weight.transpose(0, output_axis(layer)).unflatten(1, (channels, -1))
