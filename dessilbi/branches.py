"""Removal of whole layers: silent branches beside a shortcut, and layers of a chain."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bregman.layers import WEIGHT_LAYERS
from dessilbi.comparing import Original
from dessilbi.graph import ChannelGraph
from dessilbi.nodes import WRITING, Nothing, is_pointwise, summands
from dessilbi.probing import Example, Probe
from dessilbi.resizing import input_channels, output_channels
from dessilbi.zeros import zero_channels


def cut_branches(model: nn.Module, *, example: Example | None = None) -> list[str]:
    """Replace the layers of branches that add zero to a shortcut by `Nothing`, in place.

    The outputs of the network do not change, which is checked on a copy first. A branch stays if it
    gives the sum its shape, or if it holds more than Linear, Conv, BatchNorm layers and activations. A
    branch that the addition writes into (`branch += shortcut`) also stays if its input has another
    shape than the sum.

    Args:
        model: A network that `torch.fx` can trace. A call that raises an error does not change it.
        example: A batch of inputs, see `dessilbi.shrink`.

    Returns:
        Names of the Linear and Conv layers that were removed.

    Raises:
        ValueError: See `dessilbi.shrink`.
    """
    original = Original(model, example)
    cut_silent(original.copied, original.probe)
    original.check(original.copied)
    return cut_silent(model, original.probe)


@torch.no_grad()
def cut_silent(model: nn.Module, probe: Probe) -> list[str]:
    """Do what `cut_branches` does, without comparing outputs."""
    removed: list[str] = []
    graph = ChannelGraph(model, probe)
    zeros = zero_channels(graph)
    for node in graph.nodes:
        branch = _silent_branch(graph, node, zeros)
        if branch and all(_replaceable(graph, part) for part in branch):
            names = [str(part.target) for part in branch if part.op == "call_module"]
            removed += [name for name in names if _is_weight(model, name)]
            replace_removed(model, names, whole=writes_into(node, branch[0]))
    return removed


def bypass_layer(model: nn.Module, name: str, *, example: Example | None = None) -> None:
    """Take one layer, and the norm layer behind it, out of a chain, in place.

    Unlike `cut_branches`, this function changes the outputs; the paper fine-tunes afterwards. Activations
    and pooling behind the layer stay.

    Args:
        model: The network.
        name: Name of a Linear or Conv layer whose output has the shape of its input.
        example: A batch of inputs, see `dessilbi.shrink`.

    Raises:
        ValueError: There is no such layer, or the layer changes the shape of its input; see also
            `dessilbi.shrink`.
    """
    graph = ChannelGraph(model, example)
    node = graph.node_of(name)
    layer = graph.layer(node)
    if not isinstance(layer, WEIGHT_LAYERS):
        raise ValueError(f"no Linear or Conv layer called {name!r} was found in the traced graph")
    if not _keeps_shape(layer):
        raise ValueError(f"layer {name!r} changes the shape of its input: it cannot be bypassed")
    norm = graph.norm_after(node)
    for part in (node,) if norm is None else (node, norm):
        model.set_submodule(str(part.target), nn.Identity())


def writes_into(addition: fx.Node, summand: fx.Node) -> bool:
    """Whether an addition writes its result into this summand (`summand += other`)."""
    pair = summands(addition)
    return pair is not None and addition.target in WRITING and pair[0].node is summand


def replace_removed(model: nn.Module, names: list[str], *, whole: bool = False) -> None:
    """Replace Linear and Conv layers by `Nothing` and norm layers by `Identity`, in place.

    Args:
        model: The network.
        names: Names of the layers; names of other layers are ignored.
        whole: See `Nothing`.
    """
    for name in names:
        layer = model.get_submodule(name)
        if isinstance(layer, WEIGHT_LAYERS):
            model.set_submodule(name, Nothing(whole=whole))
        elif isinstance(layer, _BatchNorm):
            model.set_submodule(name, nn.Identity())


def _silent_branch(
    graph: ChannelGraph, node: fx.Node, zeros: dict[fx.Node, Tensor]
) -> list[fx.Node]:
    """Nodes that serve only the one zero summand of an addition; empty where none may be removed."""
    pair = summands(node)
    if pair is None:
        return []
    first, second = (summand.node for summand in pair)
    silent = [part for part in (first, second) if _silent(graph, part, zeros)]
    if len(silent) != 1 or first is second:
        return []
    other = second if silent[0] is first else first
    # A zero summand may be broadcast and so give the sum its shape.
    if graph.space(other) is None or not graph.same_shape(other, node):
        return []
    branch = _exclusive(silent[0], node)
    if branch and writes_into(node, silent[0]) and not _begins_like(graph, branch, node):
        return []
    return branch


def _begins_like(graph: ChannelGraph, branch: list[fx.Node], addition: fx.Node) -> bool:
    """Whether the input of the branch has the shape of the sum, now and after any removal."""
    (source,) = branch[-1].all_input_nodes or [None]
    return (
        source is not None
        and graph.space(source) is graph.space(addition)
        and graph.layout(source) == graph.layout(addition)
        and graph.same_shape(source, addition)
    )


def _silent(graph: ChannelGraph, node: fx.Node, zeros: dict[fx.Node, Tensor]) -> bool:
    """Whether a tensor is zero everywhere, and its branch was not removed before."""
    return graph.space(node) is not None and node in zeros and bool(zeros[node].all())


def _exclusive(last: fx.Node, addition: fx.Node) -> list[fx.Node]:
    """Nodes whose results only this summand uses, from the end of the branch backwards."""
    if set(last.users) != {addition}:
        return []
    branch: list[fx.Node] = []
    waiting = [last]
    while waiting:
        node = waiting.pop()
        inner = node is last or set(node.users) <= set(branch)
        if inner and node not in branch and node.op != "placeholder":
            branch.append(node)
            waiting += node.all_input_nodes
    return branch


def _replaceable(graph: ChannelGraph, node: fx.Node) -> bool:
    layer = graph.layer(node)
    if isinstance(layer, (*WEIGHT_LAYERS, _BatchNorm)):
        return not graph.is_shared(node) and not graph.is_altered(node)
    return is_pointwise(layer, node) and not graph.is_altered(node)


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
