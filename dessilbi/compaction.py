"""Compaction: removal of all units that a sparse network does not need, whatever made it sparse.

`shrink` removes channels that are zero. Sparse training leaves two more kinds of channels whose removal
keeps the outputs: a *constant* channel, whose unit has no incoming weights and outputs its activated
bias, and an *unread* channel, for which no later layer has a weight. Constant channels are moved into
the biases of the layers that read them, unread channels are set to zero, and `shrink` removes both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bregman.layers import WEIGHT_LAYERS
from dessilbi.comparing import Original
from dessilbi.constants import constant_channels, own_layers, reads_evenly
from dessilbi.graph import ChannelGraph
from dessilbi.probing import Example, Probe
from dessilbi.removal import shrunk
from dessilbi.resizing import by_input, output_axis


def compact(model: nn.Module, *, example: Example | None = None) -> nn.Module:
    """A physically smaller copy of a sparse network, with the same outputs in evaluation mode.

    At least one channel of each layer stays, and so do the inputs of the network. A constant channel
    stays if a convolution with zero padding reads it, because the padded channel is not constant. The
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
    """One round of compaction; the removal may leave further units without weights."""
    graph = ChannelGraph(model, probe)
    _fold_constants(graph)
    _silence_unread(graph)
    return shrunk(model, probe)


def _fold_constants(graph: ChannelGraph) -> None:
    """Move the contribution of constant channels into their readers' biases; zero their weights."""
    values = constant_channels(graph)
    own = own_layers(graph)
    for node in graph.nodes:
        layer = graph.layer(node)
        if not isinstance(layer, WEIGHT_LAYERS) or layer not in own or not reads_evenly(layer):
            continue
        source = node.all_input_nodes[0]
        space = graph.space(source)
        if space is None or space.fixed is not None or source not in values:
            continue
        constant = ~values[source].to(layer.weight.device).isnan()
        columns = by_input(layer, space.channels, space.readers[str(node.target)])
        value = values[source].to(columns)
        given = columns.flatten(2).sum(dim=2) @ value.nan_to_num(0.0)
        if layer.bias is None and not given.any():
            pass  # the constants are zero or absent: no bias is needed
        elif layer.bias is None:
            layer.bias = nn.Parameter(given, requires_grad=layer.weight.requires_grad)  # pyright: ignore[reportArgumentType]
        else:
            layer.bias.add_(given)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        columns[:, constant] = 0.0


def _silence_unread(graph: ChannelGraph) -> None:
    """Zero the weights, biases and norm tensors of channels for which no layer has a weight."""
    own = own_layers(graph)
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
