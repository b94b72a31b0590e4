"""Choice of the filters of a network to keep, from the support of Gamma (eqs. 21 and 22).

The support of Gamma says which filters were selected. Not every other filter can be removed: filters on
a residual stream must be removed together, and a chain of layers must not be cut. `choose_filters`
turns the support into masks for `dessilbi.mask_filters` and `dessilbi.shrink`, and names the layers to
bypass before.
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
    """Gamma is empty: no filter was selected."""


@dataclass(frozen=True)
class FilterChoice:
    """The filters of a network to keep, and the layers to bypass.

    Attributes:
        keep: Bool masks ``(filters,)`` by name of the weight, for layers that may lose filters.
        bypassed: Names of the layers that are removed as a whole, so that their input is passed on.
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

    Filters that cannot be removed, such as those on a residual stream with padded shortcuts, are kept.
    On a stream whose shortcuts are convolutions, all layers keep a filter that one of them keeps. A
    layer without support keeps its strongest filter. With `layers` the layer is removed instead where
    possible: in a residual branch, together with the branch, unless the sum behind it would be zero; in
    a chain, by a bypass.

    Args:
        model: A network that `torch.fx` can trace; it is not changed.
        optimizer: The optimiser that trained the network.
        layers: Whether layers without support are removed where the network allows it.
        cap: Largest share of the filters of a layer that are kept, in (0, 1]; None: no limit.
        path: The times of selection. Under a cap, the filters that were selected first are kept; without
            a path, those with the largest norm of V.
        example: A batch of inputs, see `dessilbi.shrink`.

    Raises:
        EmptySelectionError: No filter is selected.
        ValueError: The cap is not in (0, 1], or the network cannot be traced.
    """
    masks = filter_masks(model, optimizer, cap=cap, path=path)
    if not any(bool(mask.any()) for mask in masks.values()):
        raise EmptySelectionError("Gamma is empty: no filter was selected (train longer)")
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
    """Whether no shortcut passes a layer by, so that its removal needs a bypass."""
    graph = ChannelGraph(model)
    node = next(node for node in graph.nodes if node.target == layer)
    try:
        rest_of_branch(graph, node)
    except ValueError:
        return True
    return False


def _rescue_sums(model: nn.Module, optimizer: DessiLBI, keep: dict[str, Tensor]) -> None:
    """Keep a filter in the layers of one summand of every sum that would be zero, in place."""
    while sums := silent_sums(model, keep):
        # Choose the summand with the fewest layers without filters, which is mostly a shortcut.
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
