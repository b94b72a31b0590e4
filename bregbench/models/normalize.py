"""Input normalisation as the first layer, so that attacks and bounds see inputs in [0, 1]."""

from __future__ import annotations

import torch
from torch import nn

from bregbench.data.normalization import Normalization


class Normalize(nn.Module):
    """``(input - mean) / std`` with fixed statistics.

    Args:
        normalization: mean and deviation, broadcastable over ``(batch, channels, height, width)``.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        self.register_buffer("mean", normalization.mean.clone())
        self.register_buffer("std", normalization.std.clone())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalise ``(batch, channels, height, width)`` images; the memory format is kept."""
        return (inputs - self.mean) / self.std

    def extra_repr(self) -> str:
        """Show the shape of the mean: per channel or per pixel."""
        return f"mean={tuple(self.mean.shape)}"


class Denormalize(Normalize):
    """``input * std + mean``, the inverse of `Normalize`, for the output of an autoencoder."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Images ``(batch, channels, height, width)`` in [0, 1] from normalised ones."""
        return inputs * self.std + self.mean

    def inverse(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images, from ``(batch, channels, height, width)`` in [0, 1]."""
        return super().forward(images)
