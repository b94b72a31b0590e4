"""Resizing images by the interpolations that experiments on resolution compare."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import nn
from torch.nn import functional

from fno import trigonometric_resize


class Interpolation(StrEnum):
    """Method of interpolation at new pixels.

    Bilinear and bicubic interpolation smooth images before they reduce them (`antialias=True`), as in the
    published evaluation.
    """

    nearest = "nearest"
    bilinear = "bilinear"
    bicubic = "bicubic"
    trigonometric = "trigonometric"


def resize_images(
    images: torch.Tensor, size: tuple[int, int], interpolation: Interpolation
) -> torch.Tensor:
    """Resize images; constants are kept, so that resizing commutes with normalisation.

    Values are not clamped: trigonometric and bicubic interpolation may overshoot the range of the pixels.

    Args:
        images: floating-point images ``(batch, channels, height, width)``.
        size: (height, width) of the result.
        interpolation: method of interpolation.

    Returns:
        Images ``(batch, channels, *size)``; the same tensor if the size does not change.
    """
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    if interpolation is Interpolation.trigonometric:
        return trigonometric_resize(images, size)
    if interpolation is Interpolation.nearest:
        # Pixels are areas: take the old pixel that contains the centre of the new one.
        return functional.interpolate(images, size=size, mode="nearest-exact")
    return functional.interpolate(
        images, size=size, mode=interpolation.value, align_corners=False, antialias=True
    )


class InputResize(nn.Module):
    """A network that resizes every image to one size first, and so accepts images of any size.

    Args:
        network: network for images of this size.
        size: (height, width) of the images that the network gets.
        interpolation: method by which images are resized.
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
