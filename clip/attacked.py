"""The inputs and the result of an attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """The images that an attack found, by radius in increasing order.

    Attributes:
        images: ``(n, *input_shape)`` for each radius: a misclassified image inside the ball if one
            was found, else the image with the smallest margin of the right class.
        broken: bool ``(n,)`` for each radius: whether the image is misclassified. Clean errors are
            broken at every radius, and an image that is broken at a radius is broken at larger ones.
        masked: bool ``(n,)``, True at images for which the gradient of the attack's own loss vanished,
            was lost in rounding or was not finite at some step, so that another loss took over; None
            if the attack does not check it. Many masked images mean that the network hides its
            gradients, and that weaker attacks overrate its robustness.
    """

    images: dict[float, Tensor]
    broken: dict[float, Tensor]
    masked: Tensor | None = None


class Attack(Protocol):
    """The interface that `robust_accuracy` calls: an attack of `clip.attacks`, or a `partial` of one."""

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
    """Check the images, labels and radii of an attack.

    Raises:
        ValueError: shapes do not fit, labels are no integers, a radius is negative, or images are not
            finite or leave the range of values.
    """
    if images.dim() < 2 or labels.shape != (len(images),):
        raise ValueError(
            f"expected images (n, *input_shape) and labels (n,), got {tuple(images.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if not radii or not all(radius >= 0 for radius in radii):
        raise ValueError(f"radii={list(radii)}: expected at least one, none negative")
    if labels.dtype is not torch.int64:
        raise ValueError(f"labels are {labels.dtype}: must be int64, the index of a class")
    unknown = int((~images.flatten(1).isfinite().all(dim=1)).sum())
    if unknown > 0:
        raise ValueError(f"{unknown} of {len(images)} images hold NaN or infinity: must be finite")
    if value_range is not None and len(images) > 0:
        low, high = float(images.min()), float(images.max())
        if low < value_range[0] or high > value_range[1]:
            raise ValueError(
                f"images lie in [{low:.4g}, {high:.4g}], outside value_range={value_range}: give "
                "their range, or None for no limits"
            )
