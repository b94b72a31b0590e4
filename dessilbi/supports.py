"""The support of Gamma as masks of weights, filters and layers (eqs. 21, 22), and as networks.

A mask of weights has the shape of its weight and is keyed by the parameter's name, as in
`bregman.masks`. A mask of filters has one entry per output channel.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bregman import apply_masks
from bregman.layers import weight_layers
from bregman.masks import Masks
from bregman.validation import check_density
from dessilbi.optimizer import DessiLBI
from dessilbi.path import SelectionPath
from dessilbi.resizing import output_axis


def weight_masks(
    model: nn.Module, optimizer: DessiLBI, *, convolutions_only: bool = False
) -> Masks:
    """The entries at which Gamma is not zero, for every penalised Linear and Conv weight: eq. 21.

    Args:
        model: The network that the optimiser trains.
        optimizer: The optimiser that holds Gamma.
        convolutions_only: Leave out Linear layers, as the paper's winning tickets do.
    """
    return {
        name: optimizer.gamma(weight) != 0
        for name, layer, weight in _penalised(model, optimizer)
        if not (convolutions_only and isinstance(layer, nn.Linear))
    }


@torch.no_grad()
def filter_masks(
    model: nn.Module,
    optimizer: DessiLBI,
    *,
    cap: float | None = None,
    path: SelectionPath | None = None,
    linear: bool = False,
) -> Masks:
    """The filters in which Gamma has a non-zero entry: eq. 22.

    Args:
        model: The network that the optimiser trains.
        optimizer: The optimiser that holds Gamma.
        cap: At most `ceil(cap * filters)` filters of each layer are kept (0.6 in the paper's Table 3).
        path: Under a cap, the filters that were selected first are kept. Without a path, or at equal
            times, those with the largest norm of V are kept.
        linear: Whether the neurons of Linear layers count as filters, too.

    Returns:
        A bool tensor `(outputs,)` per weight.

    Raises:
        ValueError: The cap is not in (0, 1].
    """
    if cap is not None:
        check_density(cap)
    masks: Masks = {}
    for name, layer, weight in _penalised(model, optimizer):
        if isinstance(layer, nn.Linear) and not linear:
            continue
        axis = output_axis(layer)
        selected = _per_output(optimizer.gamma(weight), axis) > 0
        if cap is not None:
            limit = math.ceil(round(cap * selected.numel(), 9))  # 0.6 * 5 is a little above 3
            scores = _per_output(optimizer.dual(weight), axis)
            times = torch.zeros(len(selected)) if path is None else path.first_filters(name, axis)
            # A filter whose Gamma is zero again takes no place, however early it was selected.
            times = times.to(selected.device).masked_fill(~selected, math.inf)
            selected &= _leading(scores, times, limit)
        masks[name] = selected
    return masks


def layer_support(model: nn.Module, optimizer: DessiLBI) -> dict[str, bool]:
    """For each layer, by name of its weight, whether Gamma has a non-zero entry in it."""
    return {name: bool(mask.any()) for name, mask in weight_masks(model, optimizer).items()}


def keep_ratios(masks: Masks) -> dict[str, float]:
    """The share of each mask that is kept (Figure 8)."""
    return {name: float(mask.double().mean()) for name, mask in masks.items()}


@torch.no_grad()
def gamma_view(model: nn.Module, optimizer: DessiLBI) -> nn.Module:
    """A copy of the network with Gamma in the place of the weights that carry a penalty."""
    twin = copy.deepcopy(model)
    params = dict(twin.named_parameters())
    for name, _, weight in _penalised(model, optimizer):
        params[name].copy_(optimizer.gamma(weight))
    return twin


def support_view(model: nn.Module, optimizer: DessiLBI) -> nn.Module:
    """A copy of the network whose weights W are zero where Gamma is: `W 1[Gamma != 0]`.

    To mask whole filters with their norm layers, call `mask_filters` on a copy.
    """
    twin = copy.deepcopy(model)
    apply_masks(twin, weight_masks(model, optimizer))
    return twin


def _penalised(
    model: nn.Module, optimizer: DessiLBI
) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """Name, layer and weight of the Linear and Conv layers whose weight has a Gamma."""
    for name, layer, weight in weight_layers(model):
        if optimizer.has_gamma(weight):
            yield name, layer, weight  # pyright: ignore[reportReturnType]


def _per_output(x: Tensor, axis: int) -> Tensor:
    """Norm of everything that belongs to one output channel."""
    return torch.linalg.vector_norm(x.transpose(0, axis).flatten(1), dim=1)


def _leading(scores: Tensor, times: Tensor, limit: int) -> Tensor:
    """True at the first `limit` entries, by time and then by score."""
    order = scores.argsort(descending=True, stable=True)
    order = order[times[order].argsort(stable=True)]
    keep = torch.zeros_like(scores, dtype=torch.bool)
    keep[order[:limit]] = True
    return keep
