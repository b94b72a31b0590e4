"""Physical removal: a network without the filters and branches that contribute nothing.

Only exact zeros are taken away, so the outputs stay: what is zero is found by following the masks
(see `dessilbi.masking`) through the traced graph. A channel goes when it is zero wherever a layer
reads it; on a residual stream that means that every summand is zero there.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn

from bregman.layers import WEIGHT_LAYERS
from bregman.modules import make_safe
from dessilbi.branches import cut_branches
from dessilbi.graph import ChannelGraph, Space
from dessilbi.resizing import select_inputs, select_norm, select_outputs
from dessilbi.zeros import zero_channels


def shrink(model: nn.Module, *, example: Tensor | None = None) -> nn.Module:
    """A physically smaller copy of a masked network, with the same outputs.

    Branches that add nothing to a shortcut become `dessilbi.nodes.Nothing`, then channels that are
    zero leave every layer that makes, normalises or reads them. At least one channel of each layer
    stays. Optimisers still hold the parameters of the old network. Strided 1 x 1 convolutions become
    `bregman.modules.Conv2d`, which compute the same safely with few channels.

    Args:
        model: Masked by `mask_filters`; not changed.
        example: An input batch on which the outputs are compared, in evaluation mode.

    Raises:
        ValueError: The outputs on `example` differ by more than rounding.
    """
    small = copy.deepcopy(model)
    for layer in small.modules():
        make_safe(layer)
    cut_branches(small)
    graph = ChannelGraph(small)
    with torch.no_grad():
        zeros = zero_channels(graph)
        for space in graph.spaces:
            if space.fixed is None:
                _remove(small, space, _unread(graph, space, zeros))
    if example is not None:
        compare_outputs(model, small, example)
    return small


def fixed_layers(model: nn.Module) -> dict[str, str]:
    """Why filters of a layer can never be removed, for the layers of which that is true."""
    spaces = ChannelGraph(model).spaces
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
    dead[0] &= not bool(dead.all())  # a layer without any channel has no meaning
    for name in space.producers:
        layer = model.get_submodule(name)
        select_outputs(layer, _index(layer, dead))
    for name in space.norms:
        layer = model.get_submodule(name)
        select_norm(layer, _index(layer, dead))
    for name in space.readers:
        layer = model.get_submodule(name)
        select_inputs(layer, _index(layer, dead), space.channels)


def _index(layer: nn.Module, dead: Tensor) -> Tensor:
    device = next(layer.parameters()).device
    return (~dead).nonzero().flatten().to(device)


def compare_outputs(model: nn.Module, small: nn.Module, example: Tensor) -> None:
    """Hold a smaller copy of a network to the original, in evaluation mode.

    Raises:
        ValueError: The outputs on `example` differ by more than rounding.
    """
    with torch.no_grad():
        expected, found = (copy.deepcopy(net).eval()(example) for net in (model, small))
    size = expected.abs().max()
    error = (expected - found).abs().max()
    if not error <= 100 * torch.finfo(expected.dtype).eps * size.clamp(min=1.0):
        raise ValueError(
            f"removal changed the outputs by {float(error):.3g} (largest output {float(size):.3g}): "
            "the network does something with its channels that the traced graph does not show"
        )
