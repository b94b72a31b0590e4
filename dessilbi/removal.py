"""Physical removal: a network without the filters and branches that contribute nothing.

Only channels that are exactly zero are removed, so the outputs do not change. The zeros are found by
following masked filters (see `dessilbi.masking`) through the traced graph. A channel is removed if it is
zero wherever a layer reads it; on a residual stream every summand must be zero. The result is always
compared with the original.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn

from bregman.layers import WEIGHT_LAYERS
from bregman.modules import make_safe
from dessilbi.branches import cut_silent
from dessilbi.comparing import Original, OutputsChangedError, compare_outputs
from dessilbi.graph import ChannelGraph, Space
from dessilbi.probing import Example, Probe
from dessilbi.resizing import select_inputs, select_norm, select_outputs
from dessilbi.zeros import zero_channels

__all__ = ["OutputsChangedError", "compare_outputs", "fixed_layers", "shrink"]


def shrink(model: nn.Module, *, example: Example | None = None) -> nn.Module:
    """A physically smaller copy of a masked network, with the same outputs.

    Layers of branches that add zero to a shortcut become `dessilbi.nodes.Nothing`. Then zero channels are
    removed from every layer that produces, normalises or reads them. At least one channel of each layer
    stays. Optimisers still hold the parameters of the old network. Strided 1 x 1 convolutions become
    `bregman.modules.Conv2d`, which is safe with few channels.

    The copy is compared with the original in evaluation mode and double precision.

    Args:
        model: A network masked by `mask_filters`; it is not changed.
        example: The input batch on which the outputs are compared, if possible of several samples; a
            tuple of tensors for a network with several inputs. Without an example, inputs are made up
            from the first layer. If the network accepts inputs of several kinds, such as features and
            tokens, only channels that can be removed for all kinds are removed.

    Raises:
        ValueError: The network cannot be traced, computes its weights, changes values in place that
            it uses later, or does not accept the example; there is no example and none can be made up;
            or the outputs would differ by more than rounding (`OutputsChangedError`).
    """
    original = Original(model, example)
    small = shrunk(original.copied, original.probe)
    original.check(small)
    return original.in_own_precision(small)


@torch.no_grad()
def shrunk(model: nn.Module, probe: Probe) -> nn.Module:
    """The smaller copy that `shrink` returns, without the comparison of outputs."""
    small = copy.deepcopy(model)
    for layer in small.modules():
        make_safe(layer)
    cut_silent(small, probe)
    graph = ChannelGraph(small, probe)
    zeros = zero_channels(graph)
    for space in graph.spaces:
        if space.fixed is None:
            _remove(small, space, _unread(graph, space, zeros))
    return small


def fixed_layers(model: nn.Module, *, example: Example | None = None) -> dict[str, str]:
    """The layers whose filters can never be removed, by name, each with the reason.

    Args:
        model: A network that `torch.fx` can trace.
        example: A batch of inputs, see `shrink`.

    Raises:
        ValueError: Nothing can be removed from the network at all, see `shrink`.
    """
    spaces = ChannelGraph(model, example).spaces
    return {name: s.fixed for s in spaces if s.fixed is not None for name in s.producers}


def _unread(graph: ChannelGraph, space: Space, zeros: dict[fx.Node, Tensor]) -> Tensor:
    """True at the channels that are zero at the input of every reader."""
    dead = torch.ones(space.channels, dtype=torch.bool)
    for node in graph.nodes:
        if isinstance(graph.layer(node), WEIGHT_LAYERS):
            source = node.all_input_nodes[0]
            if graph.space(source) is space:
                dead &= zeros[source]
    return dead


def _remove(model: nn.Module, space: Space, dead: Tensor) -> None:
    if not dead.any():
        return
    dead = dead.clone()
    dead[0] &= not bool(dead.all())  # torch has no layers with 0 channels
    for name in space.producers:
        layer = model.get_submodule(name)
        select_outputs(layer, _index(layer, dead))
    for name in space.norms:
        layer = model.get_submodule(name)
        select_norm(layer, _index(layer, dead))
    for name, outer in space.readers.items():
        layer = model.get_submodule(name)
        select_inputs(layer, _index(layer, dead), space.channels, outer=outer)


def _index(layer: nn.Module, dead: Tensor) -> Tensor:
    device = next(layer.parameters()).device
    return (~dead).nonzero().flatten().to(device)
