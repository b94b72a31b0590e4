"""Removal of whole layers: silent branches beside a shortcut, and layers of a chain."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bregman.layers import WEIGHT_LAYERS
from dessilbi.graph import ChannelGraph
from dessilbi.nodes import POINTWISE_CALLS, POINTWISE_MODULES, Nothing
from dessilbi.resizing import input_channels, output_channels
from dessilbi.zeros import zero_channels


@torch.no_grad()
def cut_branches(model: nn.Module) -> list[str]:
    """Put `Nothing` in the place of branches that add zero to something else, in place.

    Outputs stay exactly the same. A branch that an addition would write into (`branch += shortcut`)
    stays, as do branches that hold more than Linear, Conv, BatchNorm layers and
    activations.

    Returns:
        Names of the Linear and Conv layers that are gone.
    """
    removed: list[str] = []
    graph = ChannelGraph(model)
    zeros = zero_channels(graph)
    for node in graph.nodes:
        if not graph.is_addition(node):
            continue
        silent = [source for source in node.all_input_nodes if _silent(graph, source, zeros)]
        if len(silent) == 1 and not _written(node, silent[0]):
            branch = _exclusive(silent[0], node)
            if all(_replaceable(graph, part) for part in branch):
                names = [str(part.target) for part in branch if part.op == "call_module"]
                removed += [name for name in names if _is_weight(model, name)]
                replace_removed(model, names)
    return removed


def bypass_layer(model: nn.Module, name: str) -> None:
    """Take one layer, and the norm layer behind it, out of a chain, in place.

    Unlike `cut_branches` this changes the outputs; the paper fine-tunes afterwards. Activations and
    pooling stay.

    Args:
        model: The network.
        name: Name of a Linear or Conv layer whose output has the shape of its input.

    Raises:
        ValueError: There is no such layer, or it changes the shape.
    """
    graph = ChannelGraph(model)
    graph.space_of(name)
    node = next(node for node in graph.nodes if node.target == name)
    layer = graph.layer(node)
    assert layer is not None
    if not _keeps_shape(layer):
        raise ValueError(f"layer {name!r} changes the shape of its input: it cannot be bypassed")
    norm = graph.norm_after(node)
    for part in (node,) if norm is None else (node, norm):
        model.set_submodule(str(part.target), nn.Identity())


def replace_removed(model: nn.Module, names: list[str]) -> None:
    """Put `Nothing` for Linear and Conv layers and `Identity` for norm layers, in place."""
    for name in names:
        layer = model.get_submodule(name)
        if isinstance(layer, WEIGHT_LAYERS):
            model.set_submodule(name, Nothing())
        elif isinstance(layer, _BatchNorm):
            model.set_submodule(name, nn.Identity())


def _silent(graph: ChannelGraph, node: fx.Node, zeros: dict[fx.Node, Tensor]) -> bool:
    """Zero everywhere, and not merely because its branch was cut before."""
    return graph.space(node) is not None and node in zeros and bool(zeros[node].all())


def _written(addition: fx.Node, branch: fx.Node) -> bool:
    in_place = addition.target is operator.iadd or addition.target == "add_"
    return in_place and addition.args[0] is branch


def _exclusive(last: fx.Node, addition: fx.Node) -> list[fx.Node]:
    """What exists for this summand only, from the end of the branch backwards."""
    members = {addition}
    branch: list[fx.Node] = []
    waiting = [last]
    while waiting:
        node = waiting.pop()
        if node not in members and set(node.users) <= members and node.op != "placeholder":
            members.add(node)
            branch.append(node)
            waiting += node.all_input_nodes
    return branch


def _replaceable(graph: ChannelGraph, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(graph.layer(node), (*WEIGHT_LAYERS, _BatchNorm, *POINTWISE_MODULES))
    return node.target in POINTWISE_CALLS


def _is_weight(model: nn.Module, name: str) -> bool:
    return isinstance(model.get_submodule(name), WEIGHT_LAYERS)


def _keeps_shape(layer: nn.Module) -> bool:
    if input_channels(layer) != output_channels(layer):
        return False
    if isinstance(layer, nn.Linear):
        return True
    if isinstance(layer.padding, str):
        return layer.padding == "same"
    sizes = zip(layer.kernel_size, layer.padding, layer.dilation, layer.stride, strict=True)  # pyright: ignore[reportArgumentType]
    return all(s == 1 and 2 * p == d * (k - 1) for k, p, d, s in sizes)
