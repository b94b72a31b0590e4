"""Normalisation of inputs, the first layer of networks: subtract a mean, divide by a deviation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch

# Number of images per partial sum of the mean image: the sum of 4096 bytes is exact in float32.
_CHUNK = 4096


class Normalise(StrEnum):
    """Normalisation of inputs in [0, 1] by statistics of the training split, or by fixed numbers.

    `none` leaves inputs in [0, 1]. `half` maps inputs to [-1, 1], as do the published codes of the
    Bregman paper (Fashion-MNIST) and of the FNO paper.
    """

    none = "none"
    channel = "channel"
    pixel_mean = "pixel_mean"
    half = "half"


@dataclass(frozen=True, eq=False)
class Normalization:
    """Mean and deviation of inputs scaled to [0, 1], on the CPU.

    Attributes:
        mean: float32, ``(channels, 1, 1)`` or ``(channels, height, width)``.
        std: float32 and positive, ``(channels, 1, 1)``.
    """

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def identity(cls, channels: int) -> Normalization:
        """The normalisation that changes nothing."""
        return cls(mean=torch.zeros(channels, 1, 1), std=torch.ones(channels, 1, 1))


def compute_normalization(images: torch.Tensor, kind: Normalise) -> Normalization:
    """The map of this kind, from the statistics of uint8 images scaled to [0, 1], or of floats as they are.

    Counts and sums of uint8 images are exact integers, so the result depends neither on the device nor on
    the order of the images; those of floats are in double
    precision. The deviation is that of the population (divided by n), 1 if it would be 0.

    Args:
        images: uint8 or float32 ``(n, channels, height, width)`` with n >= 1.
        kind: ``channel``: mean and deviation of each channel; ``pixel_mean``: mean image and
            deviation 1; ``none``: mean 0 and deviation 1; ``half``: mean and deviation 0.5,
            whatever the images.
    """
    count, channels, height, width = images.shape
    identity = Normalization.identity(channels)
    if kind is Normalise.half:
        return Normalization(mean=identity.mean + 0.5, std=identity.std / 2)
    if kind is Normalise.none:
        return identity
    if images.is_floating_point():
        return _of_floats(images, kind, identity)
    if kind is Normalise.pixel_mean:
        sums = torch.zeros(channels, height, width, dtype=torch.float64)
        for chunk in images.split(_CHUNK):
            sums += chunk.float().sum(dim=0).cpu()
        return Normalization(mean=(sums / count / 255).float(), std=identity.std)
    levels = torch.arange(256, dtype=torch.float64)
    counts = torch.stack(
        [torch.bincount(images[:, c].flatten(), minlength=256) for c in range(channels)]
    )
    shares = counts.cpu().double() / (count * height * width)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]).square()).sum(dim=1)
    std = torch.where(variance > 0, variance.sqrt() / 255, torch.ones_like(variance))
    return Normalization(
        mean=(mean / 255).float().reshape(-1, 1, 1), std=std.float().reshape(-1, 1, 1)
    )


def _of_floats(images: torch.Tensor, kind: Normalise, identity: Normalization) -> Normalization:
    means = torch.stack([part.double().sum(0).cpu() for part in images.split(_CHUNK)]).sum(0)
    means /= len(images)
    if kind is Normalise.pixel_mean:
        return Normalization(mean=means.float(), std=identity.std)
    mean = means.mean((1, 2), keepdim=True)
    errors = [(part.double().cpu() - mean).square().sum((0, 2, 3)) for part in images.split(_CHUNK)]
    variance = torch.stack(errors).sum(0) / (images.numel() / len(mean))
    std = torch.where(variance > 0, variance.sqrt(), torch.ones_like(variance))
    return Normalization(mean=mean.float(), std=std.float().reshape(-1, 1, 1))
