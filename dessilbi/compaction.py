"""Compaction: removal of all units that a sparse network does not need, whatever made it sparse.

`shrink` takes away channels that are zero. Sparse training leaves two more kinds that can go without
changing what the network computes: *constant* channels, whose unit has no incoming weights and so
shows its activated bias to everybody, and *unread* channels, for which no later layer has a weight.
The former are moved into the biases of the layers that read them, the latter are set to zero, and
`shrink` does the rest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from bregman.layers import WEIGHT_LAYERS
from dessilbi.comparing import Original
from dessilbi.graph import ChannelGraph
from dessilbi.nodes import is_pointwise, scale_factor, summands
from dessilbi.probing import Example, Probe
from dessilbi.removal import shrunk
from dessilbi.resizing import by_input, output_axis
from dessilbi.zeros import zero_outputs

#: Poolings with arguments that are not looked at here.
_AVERAGES = frozenset({functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d})
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_DROPPING = frozenset(
    {functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d}
)


def compact(model: nn.Module, *, example: Example | None = None) -> nn.Module:
    """A physically smaller copy of a sparse network, with the same outputs in evaluation mode.

    At least one channel of each layer stays, and so do the inputs of the network. A constant
    channel stays where a convolution pads what it reads by zeros: there it is not constant. The
    copy is compared with the original in evaluation mode and double precision.

    Args:
        model: A network that `torch.fx` can trace; not changed.
        example: The input batch on which the outputs are compared, see `dessilbi.shrink`.

    Raises:
        ValueError: See `dessilbi.shrink`.
    """
    original = Original(model, example)
    small = original.copied
    size = None
    while size != (size_now := sum(parameter.numel() for parameter in small.parameters())):
        size = size_now
        small = _compacted_once(small, original.probe)
    original.check(small)
    return original.in_own_precision(small)


@torch.no_grad()
def _compacted_once(model: nn.Module, probe: Probe) -> nn.Module:
    """Removal may leave more units without weights, for another round."""
    graph = ChannelGraph(model, probe)
    _fold_constants(graph)
    _silence_unread(graph)
    return shrunk(model, probe)


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
        columns = by_input(layer, space.channels, space.readers[str(node.target)])
        given = columns.flatten(2).sum(dim=2) @ values[source].nan_to_num(0.0)
        if layer.bias is None and not given.any():
            pass  # zeros, or no constants at all: no bias has to hold them
        elif layer.bias is None:
            layer.bias = nn.Parameter(given, requires_grad=layer.weight.requires_grad)  # pyright: ignore[reportArgumentType]
        else:
            layer.bias.add_(given)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        columns[:, constant] = 0.0


def _silence_unread(graph: ChannelGraph) -> None:
    """Set to zero what makes channels for which no layer has a weight."""
    own = _own_layers(graph)
    for space in graph.spaces:
        makers = [graph.model.get_submodule(name) for name in (*space.producers, *space.norms)]
        if space.fixed is not None or not space.readers or not own.issuperset(makers):
            continue
        unread = torch.ones(space.channels, dtype=torch.bool)
        for name, outer in space.readers.items():
            columns = by_input(graph.model.get_submodule(name), space.channels, outer)
            unread &= (columns == 0).flatten(2).all(dim=2).all(dim=0).cpu()
        for layer in makers:
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
        known = space is None or graph.layout(node) is not None
        found = torch.zeros(1) if space is None else _value(graph, node, values) if known else None
        if found is not None and (space is None or found.shape == (space.channels,)):
            values[node] = found
    return values


def _value(graph: ChannelGraph, node: fx.Node, values: dict[fx.Node, Tensor]) -> Tensor | None:
    layer = graph.layer(node)
    if graph.is_altered(node):
        return None
    if isinstance(layer, WEIGHT_LAYERS):
        return _value_of_outputs(layer)
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
        return _normalised(layer, sources[0]) if graph.is_norm(node) else None
    return _mapped(node, layer, sources[0]) if graph.keeps_zeros(node) else None


def _value_of_outputs(layer: nn.Module) -> Tensor:
    """The bias where a unit has no weights."""
    empty = zero_outputs(layer, bias=False)
    weight: Tensor = layer.weight.detach()  # pyright: ignore[reportCallIssue, reportAssignmentType, reportAttributeAccessIssue]
    bias = layer.bias if isinstance(layer.bias, Tensor) else weight.new_zeros(len(empty))
    return torch.where(empty, bias, torch.nan)


def _normalised(norm: _BatchNorm, value: Tensor) -> Tensor | None:
    if norm.running_mean is None or norm.running_var is None:
        return None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shifted = (value - norm.running_mean) * scale + norm.bias
    return torch.where(norm.weight == 0, norm.bias, shifted)


def _mapped(node: fx.Node, layer: nn.Module | None, value: Tensor) -> Tensor | None:
    """A constant behind an activation, pooling or flattening; None where it need not stay one."""
    if isinstance(layer, (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)):
        even = not any(_tuple(layer.padding)) or not layer.count_include_pad
        return value if even and getattr(layer, "divisor_override", None) is None else None
    if node.target in _AVERAGES:
        return None
    factor = scale_factor(node)
    if factor is not None:
        return factor * value
    if not is_pointwise(layer, node) or isinstance(layer, _DROPOUTS) or node.target in _DROPPING:
        return value  # axes are moved, averaged over, or pooled
    if layer is not None:
        return layer(value.clone())
    target: Any = getattr(Tensor, str(node.target)) if node.op == "call_method" else node.target
    if node.args:
        return target(value.clone(), *node.args[1:], **node.kwargs)
    return target(**{**node.kwargs, "input": value.clone()})


def _tuple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _own_layers(graph: ChannelGraph) -> set[nn.Module]:
    """Layers that are called once, have no hooks, and share no tensor with another."""
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


def _reads_evenly(layer: nn.Module) -> bool:
    """Whether a constant channel adds the same to every pixel of the layer's output."""
    if isinstance(layer, nn.Linear):
        return True
    if not isinstance(layer, _ConvNd) or isinstance(layer, _ConvTransposeNd) or layer.groups != 1:
        return False
    if layer.padding_mode != "zeros" or layer.padding == "valid":
        return True
    return max(layer.kernel_size) == 1 if layer.padding == "same" else not any(layer.padding)
