"""Which filters of a network to keep once Gamma has selected some: eqs. 21 and 22 made removable.

The support of Gamma says which filters were selected. Not every filter outside of it can be taken
out: filters on a residual stream come and go together, and a chain of layers must not be cut.
`choose_filters` turns the support into masks that `dessilbi.mask_filters` and `dessilbi.shrink` can
follow, and names the layers that are to be bypassed before.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dessilbi.branches import bypass_layer
from dessilbi.graph import ChannelGraph
from dessilbi.masking import align_filters, rest_of_branch, silent_sums
from dessilbi.optimizer import DessiLBI
from dessilbi.path import SelectionPath
from dessilbi.removal import fixed_layers
from dessilbi.resizing import output_axis
from dessilbi.supports import filter_masks


class EmptySelectionError(ValueError):
    """Gamma is empty: nothing was selected."""


@dataclass(frozen=True)
class FilterChoice:
    """What is to be kept of a network.

    Attributes:
        keep: a bool mask ``(filters,)`` for the weight of each layer that loses filters, by name.
        bypassed: names of the layers that go as a whole, their input passed on.
    """

    keep: dict[str, Tensor]
    bypassed: list[str]


def choose_filters(
    model: nn.Module,
    optimizer: DessiLBI,
    *,
    layers: bool = False,
    cap: float | None = None,
    path: SelectionPath | None = None,
    example: Tensor | None = None,
) -> FilterChoice:
    """Masks of the filters that Gamma has selected, completed so that removal changes no output.

    Filters that cannot be removed, such as those on a residual stream with padded shortcuts, are
    kept; of a stream with convolutions as shortcuts every layer keeps what one of them keeps. A
    layer of a residual branch without support takes the branch with it, unless nothing would be left
    beside it; one of a chain is bypassed or keeps its strongest filter.

    Args:
        model: A network that `torch.fx` can trace; it is left as it is.
        optimizer: Its optimiser.
        layers: Bypass layers of a chain that have no support, where their shape allows it.
        cap: Keep at most this share of each layer, the first selected first.
        path: Which filters were selected when; needed for a cap.
        example: A batch of inputs, see `dessilbi.shrink`.

    Raises:
        EmptySelectionError: Nothing is selected at all.
        ValueError: The cap is not in (0, 1], or the network cannot be followed.
    """
    masks = filter_masks(model, optimizer, cap=cap, path=path)
    if not any(bool(mask.any()) for mask in masks.values()):
        raise EmptySelectionError("Gamma is empty: nothing was selected")
    fixed = fixed_layers(model, example=example)
    keep: dict[str, Tensor] = {}
    bypassed: list[str] = []
    for name, mask in masks.items():
        layer = name.removesuffix(".weight")
        if bool(mask.any()):
            found = mask
        elif not in_chain(model, layer):
            found = mask if layers else strongest_filter(model, optimizer, layer)
        elif layers and _bypassable(model, layer, example):
            bypassed.append(layer)
            continue
        else:
            found = strongest_filter(model, optimizer, layer)
        if layer not in fixed or not bool(found.any()):
            keep[name] = found
    _rescue_sums(model, optimizer, keep)
    return FilterChoice(align_filters(model, keep, example=example), bypassed)


def strongest_filter(model: nn.Module, optimizer: DessiLBI, layer: str) -> Tensor:
    """Mask of the one filter with the largest norm of V, bool ``(filters,)``."""
    module = model.get_submodule(layer)
    weight = module.get_parameter("weight")
    dual = optimizer.dual(weight).transpose(0, output_axis(module)).flatten(1)
    mask = torch.zeros(len(dual), dtype=torch.bool, device=dual.device)
    mask[torch.linalg.vector_norm(dual, dim=1).argmax()] = True
    return mask


def in_chain(model: nn.Module, layer: str) -> bool:
    """Whether nothing passes a layer by: taking it out needs a bypass."""
    graph = ChannelGraph(model)
    node = next(node for node in graph.nodes if node.target == layer)
    try:
        rest_of_branch(graph, node)
    except ValueError:
        return True
    return False


def _rescue_sums(model: nn.Module, optimizer: DessiLBI, keep: dict[str, Tensor]) -> None:
    """Give a filter to a summand of every sum of which nothing would be left."""
    while sums := silent_sums(model, keep):
        # The summand for which the fewest layers have to get a filter: a shortcut, mostly.
        summand: Collection[str] = min(sums[0], key=len)
        for layer in summand:
            keep[f"{layer}.weight"] = strongest_filter(model, optimizer, layer)


def _bypassable(model: nn.Module, layer: str, example: Tensor | None) -> bool:
    """Whether a layer of a chain keeps the shape of its input."""
    try:
        bypass_layer(copy.deepcopy(model), layer, example=example)
    except ValueError:
        return False
    return True
