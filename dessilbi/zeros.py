"""Which channels of the tensors in a traced network are always zero, read off its parameters."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from bregman.layers import WEIGHT_LAYERS
from dessilbi.graph import ChannelGraph
from dessilbi.nodes import preserves_zero
from dessilbi.resizing import output_axis


def zero_channels(graph: ChannelGraph) -> dict[fx.Node, Tensor]:
    """For every tensor with known channels, a bool tensor `(channels,)` on the CPU.

    Zeros that a removed branch leaves have the shape `(1,)`.
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
    if graph.space(node) is None:
        return torch.tensor([True])
    if isinstance(layer, WEIGHT_LAYERS):
        return _zero_outputs(layer)
    if graph.is_norm(node) and layer is not None:
        return _all_zero(layer.weight, layer.bias)
    nothing = torch.tensor([False])
    sources = [zeros.get(source, nothing) for source in node.all_input_nodes]
    if sources and (graph.is_addition(node) or preserves_zero(graph.model, node)):
        result = sources[0]
        for source in sources[1:]:
            result = result & source
        return result
    return nothing


def _zero_outputs(layer: nn.Module) -> Tensor:
    weight: Tensor = layer.weight.detach()  # pyright: ignore[reportCallIssue, reportAssignmentType, reportAttributeAccessIssue]
    rows = weight.transpose(0, output_axis(layer)).flatten(1).abs().amax(dim=1)
    return _all_zero(rows, layer.bias)


def _all_zero(*tensors: object) -> Tensor:
    """Where every one of these vectors (None: zero) is zero."""
    present = [tensor.detach().cpu() == 0 for tensor in tensors if isinstance(tensor, Tensor)]
    return torch.stack(present).all(dim=0)
