"""The channels of a traced network's tensors that are zero for all inputs, from its parameters."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from bregman.layers import WEIGHT_LAYERS
from dessilbi.graph import ChannelGraph
from dessilbi.resizing import by_output


def zero_channels(graph: ChannelGraph) -> dict[fx.Node, Tensor]:
    """For every tensor with known channels, a bool tensor `(channels,)` on the CPU, True at zeros.

    The bool tensor of zeros that a removed branch leaves has the shape `(1,)`.
    """
    zeros: dict[fx.Node, Tensor] = {}
    for node in graph.nodes:
        space = graph.space(node)
        if space is None or space.channels:
            count = 1 if space is None else space.channels
            zeros[node] = _zeros(graph, node, zeros).expand(count).clone()
    return zeros


def _zeros(graph: ChannelGraph, node: fx.Node, zeros: dict[fx.Node, Tensor]) -> Tensor:
    layer = graph.layer(node)
    nothing = torch.tensor([False])
    if graph.space(node) is None:
        return ~nothing
    if isinstance(layer, WEIGHT_LAYERS):
        return nothing if graph.is_altered(node) else zero_outputs(layer).cpu()
    if graph.layout(node) is None:
        return nothing
    if graph.is_norm(node) and layer is not None:
        return (layer.weight.detach().cpu() == 0) & (layer.bias.detach().cpu() == 0)  # pyright: ignore[reportCallIssue]
    if not graph.keeps_zeros(node):
        return nothing
    # An activation or a sum; inputs that are sizes do not count.
    found = torch.tensor([True])
    for source in node.all_input_nodes:
        if graph.is_tensor(source):
            found = found & zeros.get(source, nothing)
    return found


def zero_outputs(layer: nn.Module, *, bias: bool = True) -> Tensor:
    """Whether all weights of an output (and its bias) are zero, bool ``(outputs,)``."""
    rows = ~by_output(layer).any(dim=1)
    if bias and isinstance(layer.bias, Tensor):
        return rows & (layer.bias.detach() == 0)
    return rows
