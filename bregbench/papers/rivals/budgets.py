"""How many weights each layer may keep: uniform, Erdos-Renyi, and Erdos-Renyi with kernels, to the unit.

Sources: Mocanu et al. 2018 (ER); Evci et al. 2020, "Rigging the lottery" (ERK and uniform).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch

RULES = ("uniform", "er", "erk")

Shapes = Mapping[str, Sequence[int]]


def layer_densities(
    shapes: Shapes, density: float, *, rule: str = "erk", dense: Collection[str] = ()
) -> dict[str, float]:
    """Density of each layer, such that the network as a whole has the wanted one.

    A layer's density is eps times its raw density: `sum(shape) / prod(shape)` for `erk`, `(fan out +
    fan in channels) / their product` for `er`, 1 for `uniform`. eps solves for the total; layers that
    would exceed 1 become dense, and eps is solved anew for the others.

    Args:
        shapes: Shapes of weights, `(out, in, *kernel)`, by name; all of them are in the denominator.
        density: Of all weights together, in (0, 1].
        rule: `uniform`, `er` or `erk`.
        dense: Layers that stay dense.

    Raises:
        ValueError: Unknown rule or layer, a density out of range, or dense layers that alone have more
            weights than are wanted.
    """
    _check(shapes, density, rule, dense)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: _raw(shape, rule) for name, shape in shapes.items()}
    full = set(dense)
    while True:
        rest = [name for name in shapes if name not in full]
        left = density * sum(sizes.values()) - sum(sizes[name] for name in full)
        if not rest:
            return dict.fromkeys(shapes, 1.0)
        if left <= 0:
            raise ValueError(
                f"Invalid density: {density} (the dense layers {', '.join(sorted(full))} have more "
                f"weights; must be above {sum(sizes[n] for n in full) / sum(sizes.values()):.4g})"
            )
        eps = left / sum(raw[name] * sizes[name] for name in rest)
        over = {name for name in rest if eps * raw[name] > 1}
        if not over:
            return {name: 1.0 if name in full else eps * raw[name] for name in shapes}
        full |= over


def layer_counts(
    shapes: Shapes, density: float, *, rule: str = "erk", dense: Collection[str] = ()
) -> dict[str, int]:
    """Whole numbers of weights that add up to `round(density N)`; at least one a layer.

    The densities of `layer_densities` are rounded, and the largest layers that are not dense take
    what is missing or too much.

    Raises:
        ValueError: as `layer_densities`.
    """
    densities = layer_densities(shapes, density, rule=rule, dense=dense)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    found = {name: max(1, round(densities[name] * sizes[name])) for name in shapes}
    missing = round(density * sum(sizes.values())) - sum(found.values())
    for name in sorted(found, key=lambda name: -sizes[name]):
        if name not in dense:
            change = max(1 - found[name], min(sizes[name] - found[name], missing))
            found[name] += change
            missing -= change
    return found


def random_masks(
    shapes: Shapes, counts: Mapping[str, int], generator: torch.Generator | None = None
) -> dict[str, torch.Tensor]:
    """CPU masks with exactly so many entries True, drawn without replacement by a CPU generator."""
    masks = {}
    for name, shape in shapes.items():
        mask = torch.zeros(math.prod(shape), dtype=torch.bool)
        mask[torch.randperm(len(mask), generator=generator)[: counts[name]]] = True
        masks[name] = mask.view(tuple(shape))
    return masks


def _raw(shape: Sequence[int], rule: str) -> float:
    if rule == "uniform":
        return 1.0
    used = shape if rule == "erk" else shape[:2]
    return sum(used) / math.prod(used)


def _check(shapes: Shapes, density: float, rule: str, dense: Collection[str]) -> None:
    if rule not in RULES:
        raise ValueError(f"Invalid rule: {rule!r} (must be one of {', '.join(RULES)})")
    if not 0 < density <= 1:
        raise ValueError(f"Invalid density: {density!r} (must be in (0, 1])")
    unknown = sorted(set(dense) - shapes.keys())
    if unknown:
        raise ValueError(
            f"Invalid dense layer: {unknown[0]!r} (must be one of {', '.join(shapes)})"
        )
