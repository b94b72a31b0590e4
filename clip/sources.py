"""Sources of pairs of points: each source draws a set of pairs from a random generator.

Numbers are drawn on the generator's device, so that a set does not depend on the device of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from bregman.validation import check_choice, check_non_negative, check_positive
from clip.choices import NoiseKind


class PairSource(Protocol):
    """The interface of sources, from which `clip.PairSet` draws pairs."""

    def draw(self, generator: Generator) -> Tensor:
        """Draw pairs ``(n, 2, *input_shape)``, n >= 1; the shape is the same at every call."""
        ...


@dataclass(frozen=True)
class NoisyData:
    """Images and noisy copies of them (CLIP paper, section 4.2).

    Attributes:
        images: pool of floating-point images ``(N, *input_shape)``, which stays on its device.
        count: number of pairs, 1 to N, each from another image; None takes all images in their order.
        noise: scale r of the noise, in units of the images, positive. The paper does not state r; the
            published code takes 0.1 with `one_sided`.
        kind: `normal`, `uniform` or `one_sided`; see `NoiseKind`.

    Raises:
        ValueError: a setting is out of range, or the images have no entries to draw from.
    """

    images: Tensor
    count: int | None = None
    noise: float = 0.1
    kind: str = "normal"

    def __post_init__(self) -> None:
        _check_pool(self.images, 1)
        _check_count(self.count, len(self.images), "the number of images")
        check_positive("noise", self.noise)
        check_choice("kind", self.kind, NoiseKind)

    def draw(self, generator: Generator) -> Tensor:
        first = self.images
        if self.count is not None:
            order = torch.randperm(len(first), generator=generator, device=generator.device)
            first = first[order[: self.count].to(first.device)]
        noise = _noise(first.shape, self.kind, self.noise, generator)
        return torch.stack((first, first + noise.to(first)), dim=1)


@dataclass(frozen=True)
class DataPairs:
    """Pairs of different images, whose quotients measure the network between the data.

    Attributes:
        images: pool of floating-point images ``(N, *input_shape)``, N >= 2, which stays on its device.
        count: number of pairs, at least 1; an image may be in several pairs.

    Raises:
        ValueError: a setting is out of range, or the images have no entries to draw from.
    """

    images: Tensor
    count: int

    def __post_init__(self) -> None:
        _check_pool(self.images, 2)
        _check_count(self.count, None, "")

    def draw(self, generator: Generator) -> Tensor:
        size, device = len(self.images), generator.device
        first = torch.randint(size, (self.count,), generator=generator, device=device)
        # A shift by 1 to N - 1 places never meets the image itself.
        shift = torch.randint(1, size, (self.count,), generator=generator, device=device)
        chosen = torch.stack((first, (first + shift) % size), dim=1)
        return self.images[chosen.to(self.images.device)]


@dataclass(frozen=True)
class UniformPoints:
    """Random points of a box, paired with other random points or with noisy copies (CLIP, Figure 2).

    Attributes:
        shape: shape of one input.
        count: pairs to draw, at least 1.
        low: lower end of every entry.
        high: upper end of every entry, above `low`.
        noise: scale of the noise, at least 0; with 0 pairs are independent points of the box. A noisy
            copy may leave the box, unless `clip.PairSet` limits values.
        kind: kind of the noise; see `NoiseKind`.

    Raises:
        ValueError: a setting is out of range.
    """

    shape: Sequence[int]
    count: int
    low: float = 0.0
    high: float = 1.0
    noise: float = 0.0
    kind: str = "normal"

    def __post_init__(self) -> None:
        if not self.shape or any(size < 1 for size in self.shape):
            raise ValueError(f"shape={tuple(self.shape)}: must be sizes of at least 1")
        _check_count(self.count, None, "")
        check_range("(low, high)", (self.low, self.high))
        check_non_negative("noise", self.noise)
        check_choice("kind", self.kind, NoiseKind)

    def draw(self, generator: Generator) -> Tensor:
        ends = 1 if self.noise else 2
        size = (self.count, ends, *self.shape)
        shares = torch.rand(size, generator=generator, device=generator.device)
        points = self.low + (self.high - self.low) * shares
        if not self.noise:
            return points
        noise = _noise(points.shape, self.kind, self.noise, generator)
        return torch.cat((points, points + noise), dim=1)


@dataclass(frozen=True)
class GivenPairs:
    """Given pairs; `draw` returns a copy of them.

    Attributes:
        points: floating-point ``(n, 2, *input_shape)``, n >= 1.

    Raises:
        ValueError: the points have another shape or type.
    """

    points: Tensor

    def __post_init__(self) -> None:
        check_pairs(self.points)

    def draw(self, generator: Generator) -> Tensor:
        return self.points.clone()


def check_pairs(points: Tensor) -> None:
    """Raise ValueError unless points are floating-point pairs ``(n, 2, *input_shape)``, n >= 1."""
    if points.dim() < 3 or points.shape[1] != 2 or points.numel() == 0:
        raise ValueError(
            f"points must have shape (n, 2, *input_shape) with n >= 1, got {tuple(points.shape)}"
        )
    if not points.is_floating_point():
        raise ValueError(f"points must be floating-point numbers, got {points.dtype}")


def check_range(label: str, limits: tuple[float, float]) -> None:
    """Raise ValueError unless the first of two numbers is below the second."""
    if len(limits) != 2 or not limits[0] < limits[1]:
        raise ValueError(f"{label}={tuple(limits)}: must be two numbers, the first below the other")


def _check_pool(images: Tensor, least: int) -> None:
    if images.dim() < 2 or len(images) < least or images.numel() == 0:
        raise ValueError(
            f"images must have shape (N, *input_shape) with N >= {least}, got {tuple(images.shape)}"
        )
    if not images.is_floating_point():
        raise ValueError(f"images must be floating-point numbers, got {images.dtype}")


def _check_count(count: int | None, most: int | None, meaning: str) -> None:
    if count is None or (count >= 1 and (most is None or count <= most)):
        return
    allowed = "at least 1" if most is None else f"between 1 and {most}, {meaning}"
    raise ValueError(f"count={count}: must be {allowed}")


def _noise(shape: torch.Size, kind: str, scale: float, generator: Generator) -> Tensor:
    device = generator.device
    if kind == "normal":
        return scale * torch.randn(shape, generator=generator, device=device)
    shares = torch.rand(shape, generator=generator, device=device)
    return scale * (shares if kind == "one_sided" else 2 * shares - 1)
