"""Constant channels: units whose output is one number for all inputs and pixels.

A unit without incoming weights outputs its activated bias. A unit that reads only constant channels has
a constant output, too, unless a convolution pads these channels with zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from bregman.layers import WEIGHT_LAYERS
from dessilbi.graph import ChannelGraph, Space
from dessilbi.nodes import is_pointwise, scale_factor, summands
from dessilbi.resizing import by_input
from dessilbi.zeros import zero_outputs

#: Pooling functions whose padding arguments are not examined; their outputs count as not constant.
_AVERAGES = frozenset({functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d})
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_DROPPING = frozenset(
    {functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d}
)


@dataclass(frozen=True)
class Columns:
    """Weights of a Linear or Conv layer by the channel that they read.

    Attributes:
        nonzero: Bool `(outputs, channels)`, True where an output has a weight on a channel. The shape
            is `(outputs, 1)` if the channels of the input are not known.
        sums: `(outputs, channels)`, the contribution of a channel that is 1 everywhere; None if the
            channels of the input are not known.
    """

    nonzero: Tensor
    sums: Tensor | None = None


#: Columns of layers by name, which several calls with the same weights share.
Seen = dict[str, Columns]


def constant_channels(
    graph: ChannelGraph,
    *,
    training: bool = False,
    live: Mapping[Space, Tensor] | None = None,
    seen: Seen | None = None,
) -> dict[fx.Node, Tensor]:
    """The value of every channel that is one number for all inputs and pixels, NaN for the others.

    Args:
        graph: Graph of the network.
        training: True: the values during training, where norm layers in training mode subtract the
            mean of the batch, and dropout leaves no constant but zero. False: the values in evaluation
            mode.
        live: For each space a bool tensor `(channels,)`, True at channels that count as not constant,
            because training may change them.
        seen: Columns of layers by name, from earlier calls with the same weights; new ones are added.

    Returns:
        A tensor `(channels,)` for each node with known channels.
    """
    values: dict[fx.Node, Tensor] = {}
    seen = {} if seen is None else seen
    for node in graph.nodes:
        space = graph.space(node)
        if space is None:
            values[node] = torch.zeros(1)
            continue
        known = graph.layout(node) is not None
        found = _value(graph, node, values, seen, training=training) if known else None
        if found is None or found.shape != (space.channels,):
            continue
        if live is not None and space in live:
            found = found.masked_fill(live[space].to(found.device), torch.nan)
        values[node] = found
    return values


def _value(
    graph: ChannelGraph,
    node: fx.Node,
    values: dict[fx.Node, Tensor],
    seen: Seen,
    *,
    training: bool,
) -> Tensor | None:
    layer = graph.layer(node)
    if graph.is_altered(node):
        return None
    if isinstance(layer, WEIGHT_LAYERS):
        return _value_of_outputs(graph, node, layer, values, seen)
    pair = summands(node)
    if pair is not None and graph.keeps_zeros(node):
        first, second = (values.get(summand.node) for summand in pair)
        if first is None or second is None:
            return None
        # Zeros of removed layers are on the CPU.
        first, second = (one.to(values[pair[1].node].device) for one in (first, second))
        return pair[0].factor * first + pair[1].factor * second
    sources = [values.get(source) for source in node.all_input_nodes if graph.is_tensor(source)]
    if len(sources) != 1 or sources[0] is None:
        return None
    if isinstance(layer, _BatchNorm):
        return _normalised(layer, sources[0], training=training) if graph.is_norm(node) else None
    if not graph.keeps_zeros(node):
        return None
    if training and _drops(node, layer):
        return torch.where(sources[0] == 0, 0.0, torch.nan)
    return _mapped(node, layer, sources[0])


def columns_of(graph: ChannelGraph, node: fx.Node, seen: Seen) -> Columns:
    """The weights of the layer that a node calls, by channel; stored in `seen`."""
    name = str(node.target)
    if name not in seen:
        layer = graph.model.get_submodule(name)
        space = graph.space(node.all_input_nodes[0])
        if space is None or name not in space.readers:
            seen[name] = Columns(~zero_outputs(layer, bias=False)[:, None])
        else:
            columns = by_input(layer, space.channels, space.readers[name]).flatten(2)
            single = columns.shape[2] == 1
            nonzero = columns[..., 0] != 0 if single else (columns != 0).any(dim=2)
            seen[name] = Columns(nonzero, columns[..., 0] if single else columns.sum(dim=2))
    return seen[name]


def _value_of_outputs(
    graph: ChannelGraph,
    node: fx.Node,
    layer: nn.Module,
    values: dict[fx.Node, Tensor],
    seen: Seen,
) -> Tensor:
    """Bias plus contribution of constant channels; NaN for units with weights on other channels."""
    columns = columns_of(graph, node, seen)
    source = node.all_input_nodes[0]
    weight = layer.get_parameter("weight")
    bias = layer.bias.detach() if isinstance(layer.bias, Tensor) else weight.new_zeros(())
    if columns.sums is None or source not in values:
        return torch.where(columns.nonzero.any(dim=1), torch.nan, bias)
    value = values[source].to(columns.sums)
    even = ~value.isnan() if reads_evenly(layer) else value == 0
    moving = (columns.nonzero & ~even).any(dim=1)
    return torch.where(moving, torch.nan, bias + columns.sums @ value.masked_fill(~even, 0.0))


def _normalised(norm: _BatchNorm, value: Tensor, *, training: bool) -> Tensor | None:
    batch = training and (norm.training or norm.running_mean is None)
    if batch:  # the mean of the batch is the value itself
        shifted = norm.bias.detach() + 0.0 * value
    elif norm.running_mean is None or norm.running_var is None:
        return None
    else:
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shifted = (value - norm.running_mean) * scale + norm.bias
    return torch.where(norm.weight == 0, norm.bias, shifted).detach()


def _drops(node: fx.Node, layer: nn.Module | None) -> bool:
    return isinstance(layer, _DROPOUTS) or node.target in _DROPPING


def _mapped(node: fx.Node, layer: nn.Module | None, value: Tensor) -> Tensor | None:
    """Constants behind an activation, pooling or flattening; None where they may not stay constant."""
    if isinstance(layer, (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)):
        even = not any(_tuple(layer.padding)) or not layer.count_include_pad
        return value if even and getattr(layer, "divisor_override", None) is None else None
    if node.target in _AVERAGES:
        return None
    factor = scale_factor(node)
    if factor is not None:
        return factor * value
    if not is_pointwise(layer, node) or _drops(node, layer):
        return value  # the node moves, averages over, or pools axes, and a constant stays as it is
    if layer is not None:
        return layer(value.clone())
    target: Any = getattr(Tensor, str(node.target)) if node.op == "call_method" else node.target
    if node.args:
        return target(value.clone(), *node.args[1:], **node.kwargs)
    return target(**{**node.kwargs, "input": value.clone()})


def _tuple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def own_layers(graph: ChannelGraph) -> set[nn.Module]:
    """Linear, Conv and BatchNorm layers that are called once, without hooks or shared tensors."""
    called = [node for node in graph.nodes if graph.layer(node) is not None]
    owners: dict[int, set[nn.Module]] = {}
    for module in graph.model.modules():
        for param in module.parameters(recurse=False):
            owners.setdefault(id(param), set()).add(module)
    return {
        layer
        for node in called
        if (layer := graph.layer(node)) is not None
        and isinstance(layer, (*WEIGHT_LAYERS, _BatchNorm))
        and not graph.is_shared(node)
        and not graph.is_altered(node)
        and all(len(owners[id(param)]) == 1 for param in layer.parameters())
    }


def reads_evenly(layer: nn.Module) -> bool:
    """Whether a constant channel adds the same to every pixel of the layer's output."""
    if isinstance(layer, nn.Linear):
        return True
    if not isinstance(layer, _ConvNd) or isinstance(layer, _ConvTransposeNd) or layer.groups != 1:
        return False
    if layer.padding_mode != "zeros" or layer.padding == "valid":
        return True
    return max(layer.kernel_size) == 1 if layer.padding == "same" else not any(layer.padding)
