"""Masking filters after the norm layer: weights, bias, scale and shift of a filter become zero.

A filter that is masked in its weight alone still contributes its bias, or the shift of the norm
layer behind it: a constant image, which removal cannot take away without changing the outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from bregman.layers import WEIGHT_LAYERS
from bregman.masks import Masks
from dessilbi.graph import ChannelGraph
from dessilbi.resizing import output_axis, output_channels


@torch.no_grad()
def mask_filters(model: nn.Module, keep: Masks) -> None:
    """Set to zero, in place, all that the filters not kept contribute.

    Args:
        model: A network that `torch.fx` can trace.
        keep: Bool tensor `(outputs,)` per weight, keyed by its name (see `filter_masks`). A layer
            of which nothing is kept cuts the rest of its branch off, up to the addition of a
            shortcut: a residual block becomes its shortcut.

    Raises:
        ValueError: A key names no weight of a Linear or Conv layer, a mask has another length, or
            nothing is kept of a layer that no shortcut passes by.
    """
    graph = ChannelGraph(model)
    nodes = {str(node.target): node for node in graph.nodes if node.op == "call_module"}
    _check(graph, nodes, keep)
    dead = {name.removesuffix(".weight"): ~mask for name, mask in keep.items()}
    for name in [name for name, mask in dead.items() if mask.all()]:
        for node in rest_of_branch(graph, nodes[name]):
            layer = graph.layer(node)
            if isinstance(layer, WEIGHT_LAYERS):
                dead[str(node.target)] = torch.ones(output_channels(layer), dtype=torch.bool)
    for name, mask in dead.items():
        _silence(graph, nodes[name], mask)


def rest_of_branch(graph: ChannelGraph, node: fx.Node) -> list[fx.Node]:
    """What lies between a layer and the addition that its output flows into.

    Raises:
        ValueError: There is no such addition: the layer is part of a chain.
    """
    found: list[fx.Node] = []
    last = node
    while len(last.users) == 1:
        (user,) = last.users
        if graph.is_addition(user):
            return found
        found.append(user)
        last = user
    raise ValueError(
        f"nothing is kept of {node.target!r} and no shortcut passes it by "
        "(keep a filter, or take the layer out with bypass_layer)"
    )


def _silence(graph: ChannelGraph, node: fx.Node, dead: Tensor) -> None:
    """Zero these outputs of a layer, and scale and shift of the norm layer behind it."""
    layer, norm = graph.layer(node), graph.norm_after(node)
    assert layer is not None
    weight: Tensor = layer.weight  # pyright: ignore[reportAssignmentType]
    weight.transpose(0, output_axis(layer))[dead.to(weight.device)] = 0.0
    affine = [layer.bias]
    if norm is not None:
        owner = graph.layer(norm)
        assert owner is not None
        affine += [owner.weight, owner.bias]
    for tensor in affine:
        if isinstance(tensor, Tensor):
            tensor[dead.to(tensor.device)] = 0.0


def _check(graph: ChannelGraph, nodes: dict[str, fx.Node], keep: Masks) -> None:
    for name, mask in keep.items():
        node = nodes.get(name.removesuffix(".weight"))
        layer = None if node is None else graph.layer(node)
        if not isinstance(layer, WEIGHT_LAYERS):
            raise ValueError(f"mask {name!r} names no weight of a Linear or Conv layer")
        if mask.shape != (output_channels(layer),):
            raise ValueError(
                f"mask {name!r} has shape {tuple(mask.shape)} "
                f"(must be ({output_channels(layer)},), one entry per filter)"
            )
