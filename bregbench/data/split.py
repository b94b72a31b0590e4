"""A data set on the device: three splits of images, number of classes, and normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bregbench.data.normalization import Normalization


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels, side by side.

    Attributes:
        images: contiguous uint8 ``(n, channels, height, width)``; float32 for inputs that are no images.
        labels: int64 ``(n,)``; float32 for targets that are numbers.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Data:
    """One data set, ready for training.

    Attributes:
        train: samples from which gradients and normalisation statistics are computed.
        validation: samples on which epochs are selected; empty if ``data.validation=0``.
        test: samples that are evaluated once, at the end of a run.
        classes: number of labels; every label lies in ``0..classes - 1``.
        normalization: statistics of the training split, on the CPU.
        name: the name typed as ``dataset=...``.
    """

    train: Split
    validation: Split
    test: Split
    classes: int
    normalization: Normalization
    name: str

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width
