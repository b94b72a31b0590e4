"""Masking of filters behind the norm layer: weights, bias, scale and shift of a filter become zero.

A filter whose weights alone are masked still outputs a constant image, its bias or the shift of the norm
layer behind it, and a removal of the filter would change the outputs of the network.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from bregman.layers import WEIGHT_LAYERS
from bregman.masks import Masks
from dessilbi.graph import ChannelGraph
from dessilbi.probing import Example
from dessilbi.resizing import clear_outputs, output_channels


@torch.no_grad()
def mask_filters(model: nn.Module, keep: Masks, *, example: Example | None = None) -> None:
    """Set the contributions of all filters that are not kept to zero, in place.

    Args:
        model: A network that `torch.fx` can trace.
        keep: Bool tensors `(outputs,)`, keyed by the name of the weight (see `filter_masks`). A layer
            without kept filters silences the rest of its branch up to the addition of a shortcut: a
            residual block becomes its shortcut.
        example: A batch of inputs, see `dessilbi.shrink`. Made-up inputs are features rather than
            tokens.

    Raises:
        ValueError: The network cannot be traced (see `dessilbi.shrink`), a key names no weight of a
            Linear or Conv layer, a mask has another length, or no filter is kept of a layer that no
            shortcut passes by, or of all summands of an addition.
    """
    graph = ChannelGraph(model, example)
    nodes = {str(node.target): node for node in graph.nodes if node.op == "call_module"}
    _check(graph, nodes, keep)
    for summands in silent_sums(model, keep):
        names = " and ".join(repr(name) for summand in summands for name in summand)
        raise ValueError(
            f"no filter is kept of {names}, so that their sum is zero (keep a filter of one of them)"
        )
    dead = {name.removesuffix(".weight"): ~mask for name, mask in keep.items()}
    for name in [name for name, mask in dead.items() if mask.all()]:
        for node in rest_of_branch(graph, nodes[name]):
            layer = graph.layer(node)
            if isinstance(layer, WEIGHT_LAYERS):
                dead[str(node.target)] = torch.ones(output_channels(layer), dtype=torch.bool)
    for name, mask in dead.items():
        _silence(graph, nodes[name], mask)


def silent_sums(model: nn.Module, keep: Masks) -> list[list[list[str]]]:
    """The additions of a network whose summands would all be zero under masks.

    The output behind such an addition is the same for every input, so `mask_filters` refuses the masks.

    Args:
        model: A network that `torch.fx` can trace.
        keep: See `mask_filters`.

    Returns:
        For each of these additions and each of its summands, the names of the layers without kept
        filters.
    """
    graph = ChannelGraph(model)
    empty = {name.removesuffix(".weight") for name, mask in keep.items() if not mask.any()}
    sums = [
        [_layers_on_branch(graph, source, empty) for source in node.all_input_nodes]
        for node in graph.nodes
        if graph.is_addition(node)
    ]
    return [summands for summands in sums if all(summands)]


def align_filters(model: nn.Module, keep: Masks, *, example: Example | None = None) -> Masks:
    """Masks that agree on each residual stream, so that every masked channel can be removed.

    Layers that add to one residual stream share its channels. A channel that only some of these layers
    mask could not be removed, and no training could bring the masked filters back. So every layer keeps
    a channel that at least one of them keeps. Layers without kept filters keep none, because their
    branches are removed.

    Args:
        model: A network that `torch.fx` can trace.
        keep: See `mask_filters`; layers without a mask keep everything.
        example: See `mask_filters`.
    """
    aligned = dict(keep)
    for space in ChannelGraph(model, example).spaces:
        names = [f"{name}.weight" for name in space.producers]
        masks = {name: keep[name] for name in names if name in keep}
        if len(names) < 2 or not masks:
            continue
        union = torch.stack(list(masks.values())).any(dim=0)
        if len(masks) < len(names):
            union = torch.ones_like(union)
        aligned |= {name: union for name, mask in masks.items() if mask.any()}
    return aligned


def _layers_on_branch(graph: ChannelGraph, last: fx.Node, empty: set[str]) -> list[str]:
    """Names of the `empty` layers on the branch that ends in a summand."""
    found: list[str] = []
    node = last
    while len(node.users) == 1 and not graph.is_addition(node) and node.op != "placeholder":
        if node.op == "call_module" and str(node.target) in empty:
            found.append(str(node.target))
        if len(node.all_input_nodes) != 1:
            break
        (node,) = node.all_input_nodes
    return found


def rest_of_branch(graph: ChannelGraph, node: fx.Node) -> list[fx.Node]:
    """The nodes between a layer and the addition that receives its output.

    Raises:
        ValueError: No addition receives the output, because the layer is part of a chain.
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
        f"no filter is kept of {node.target!r}, and no shortcut passes the layer by "
        "(keep a filter, or take the layer out with bypass_layer)"
    )


def _silence(graph: ChannelGraph, node: fx.Node, dead: Tensor) -> None:
    """Set `dead` outputs of a layer, and their scale and shift in the norm layer behind it, to zero."""
    layer, norm = graph.layer(node), graph.norm_after(node)
    assert layer is not None
    clear_outputs(layer, dead)
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
