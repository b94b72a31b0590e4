"""What goes into an attack and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """What an attack found, by radius in increasing order.

    Attributes:
        images: ``(n, *input_shape)`` for each radius: a misclassified image inside the ball if one
            was found, else the one with the smallest margin.
        broken: bool ``(n,)`` for each radius: whether the image is misclassified. Clean errors are
            broken at every radius, and what is broken at a radius stays broken at larger ones.
    """

    images: dict[float, Tensor]
    broken: dict[float, Tensor]


class Attack(Protocol):
    """What `robust_accuracy` calls; configure one of this module's with `functools.partial`."""

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        /,
        *,
        radii: Sequence[float],
        generator: torch.Generator | None = None,
    ) -> Attacked:
        """Attack a batch at several radii; the generator is the only source of randomness."""
        ...


def check_data(
    images: Tensor,
    labels: Tensor,
    radii: Sequence[float],
    value_range: tuple[float, float] | None,
) -> None:
    """Refuse data that no attack makes sense of.

    Raises:
        ValueError: shapes do not fit, a radius is negative, or images leave the range of values.
    """
    if images.dim() < 2 or labels.shape != (len(images),):
        raise ValueError(
            f"expected images (n, *input_shape) and labels (n,), got {tuple(images.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if not radii or not all(radius >= 0 for radius in radii):
        raise ValueError(f"radii={list(radii)}: expected at least one, none negative")
    if value_range is not None and len(images) > 0:
        low, high = float(images.min()), float(images.max())
        if low < value_range[0] or high > value_range[1]:
            raise ValueError(
                f"images lie in [{low:.4g}, {high:.4g}], outside value_range={value_range}: give "
                "their range, or None for no limits"
            )
