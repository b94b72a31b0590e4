"""Masks of Linear and Conv weights: by magnitude, by non-zero entries, and their application.

A mask is a bool tensor of the shape of its weight (True: keep), keyed by the full parameter name.
`bregman.layers` says which entries form one group in each type of layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bregman.choices import Grouping, Scope
from bregman.layers import computed_weights, layer_dims, weight_layers
from bregman.validation import check_choice, check_density, check_non_negative

Masks = dict[str, Tensor]


@torch.no_grad()
def magnitude_masks(
    model: nn.Module,
    *,
    density: float | None = None,
    threshold: float | None = None,
    by: str = "entry",
    scope: str = "global",
    modules: type[nn.Module] | tuple[type[nn.Module], ...] | None = None,
) -> Masks:
    """Masks that keep the largest entries or groups.

    The magnitude of a group is the root mean square of its entries, which compares groups of
    unequal size. A group that holds NaN counts as the smallest: no threshold keeps it, and a density
    keeps it only after every other group.

    Args:
        model: A network. Its Linear and Conv weights are read and not changed.
        density: Keep exactly `round(density * count)` entries or groups, at least one. Exactly one of
            `density` and `threshold` must be given.
        threshold: Keep entries or groups with a magnitude above this number.
        by: `"entry"`, `"kernel"`, `"filter"` or `"row"`.
        scope: `"global"`: count over all layers together; `"layer"`: count in each layer by itself.
            The scope makes no difference for a threshold.
        modules: Types of the layers that get masks, for instance `nn.Linear`; None for all.

    Returns:
        A bool tensor for each weight of these layers, keyed by parameter name.

    Raises:
        ValueError: Both or neither of density and threshold are given, or a value is out of range.
    """
    if (density is None) == (threshold is None):
        raise ValueError(
            f"give density or threshold, not both or neither ({density=}, {threshold=})"
        )
    check_choice("by", by, Grouping)
    check_choice("scope", scope, Scope)
    layers = [
        (name, layer, weight.detach())
        for name, layer, weight in weight_layers(model)
        if modules is None or isinstance(layer, modules)
    ]
    weights = {name: weight for name, _, weight in layers}
    sizes = {name: _magnitudes(layer, weight, by) for name, layer, weight in layers}
    if threshold is not None:
        check_non_negative("threshold", threshold)
        keep = {name: size > threshold for name, size in sizes.items()}
    else:
        check_density(density)
        keep = _largest(sizes, density, scope)  # pyright: ignore[reportArgumentType]
    return {name: mask.expand_as(weights[name]).clone() for name, mask in keep.items()}


@torch.no_grad()
def nonzero_masks(model: nn.Module) -> Masks:
    """Masks of the entries of Linear and Conv weights that are not exactly zero."""
    return {name: weight != 0 for name, _, weight in weight_layers(model)}


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Masks) -> None:
    """Set the entries that the masks do not keep to zero, in place.

    Call `optimizer.reset_dual()` before a Bregman optimiser takes further steps.

    Raises:
        ValueError: A mask names no parameter of the model, names a weight that is computed from other
            parameters, or has another shape than its parameter; nothing is changed.
    """
    params = dict(model.named_parameters(remove_duplicate=False))
    computed = set(computed_weights(model))
    for name, mask in masks.items():
        if name in computed:
            raise ValueError(
                f"mask {name!r} is of a weight that is computed from other parameters: make it plain "
                "first (torch.nn.utils.parametrize.remove_parametrizations, or the remove function "
                "of what computes it)"
            )
        if name not in params:
            raise ValueError(f"mask {name!r} names no parameter of the model")
        if mask.shape != params[name].shape:
            raise ValueError(
                f"mask {name!r} has shape {tuple(mask.shape)}, "
                f"its parameter {tuple(params[name].shape)}"
            )
    for name, mask in masks.items():
        params[name].masked_fill_(~mask.to(params[name].device), 0.0)


def _magnitudes(layer: nn.Module, weight: Tensor, by: str) -> Tensor:
    """Root mean square of every group, with reduced axes kept as axes of length 1."""
    dims = layer_dims(layer, by)
    return weight.square().mean(dim=dims, keepdim=True).sqrt() if dims else weight.abs()


def _largest(sizes: Masks, density: float, scope: str) -> Masks:
    if scope == "layer":
        return {name: _top(size, density) for name, size in sizes.items()}
    if not sizes:
        return {}
    device = next(iter(sizes.values())).device
    kept = _top(torch.cat([size.flatten().to(device) for size in sizes.values()]), density)
    parts = kept.split([size.numel() for size in sizes.values()])
    return {
        name: part.view(size.shape).to(size.device)
        for (name, size), part in zip(sizes.items(), parts, strict=True)
    }


def _top(values: Tensor, density: float) -> Tensor:
    """True at exactly `max(1, round(density * count))` largest values, NaN being the smallest.

    Layers without entries have none to keep.
    """
    count = min(values.numel(), max(1, round(density * values.numel())))
    keep = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    ranks = values.flatten()
    ranks = ranks.masked_fill(ranks.isnan(), -torch.inf)  # topk takes NaN for the largest number
    keep[ranks.topk(count).indices] = True
    return keep.view(values.shape)
