"""Resizing images by the interpolations that experiments on resolution compare."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import nn
from torch.nn import functional

from fno import trigonometric_resize


class Interpolation(StrEnum):
    """How values at new pixels come about.

    Bilinear and bicubic smooth before they reduce (`antialias=True`), as the published evaluation does.
    """

    nearest = "nearest"
    bilinear = "bilinear"
    bicubic = "bicubic"
    trigonometric = "trigonometric"


def resize_images(
    images: torch.Tensor, size: tuple[int, int], interpolation: Interpolation
) -> torch.Tensor:
    """Resize images; constants stay what they are, so that this commutes with normalisation.

    Values are not clamped: trigonometric and bicubic interpolation overshoot the range of the pixels.

    Args:
        images: ``(batch, channels, height, width)``, floating point.
        size: (height, width) wanted.
        interpolation: how.
    """
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    if interpolation is Interpolation.trigonometric:
        return trigonometric_resize(images, size)
    if interpolation is Interpolation.nearest:
        # Of pixel areas: the pixel under the centre of the new one.
        return functional.interpolate(images, size=size, mode="nearest-exact")
    return functional.interpolate(
        images, size=size, mode=interpolation.value, align_corners=False, antialias=True
    )


class InputResize(nn.Module):
    """A network that sees every image at one size: the usual way to take images of any size.

    Args:
        network: maps images of the size to outputs.
        size: (height, width) that it sees.
        interpolation: how images are brought to it.
    """

    def __init__(
        self, network: nn.Module, size: tuple[int, int], interpolation: Interpolation
    ) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.interpolation = interpolation

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Outputs of the network for ``(batch, channels, height, width)`` of any size."""
        return self.network(resize_images(images, self.size, self.interpolation))
