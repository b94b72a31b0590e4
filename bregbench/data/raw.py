"""Images and labels as they were read from files, before they are split and moved to the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bregbench.data.split import Split
from bregbench.foundations.errors import BenchError


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Arrays of one part of a data set.

    Attributes:
        images: uint8 ``(n, height, width)`` or ``(n, height, width, channels)``.
        labels: integers ``(n,)``.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, order: torch.Tensor, *, device: torch.device) -> Split:
        """The images at the positions `order`, in this order, as tensors on the device."""
        images = torch.from_numpy(self.images)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        labels = torch.from_numpy(self.labels.astype(np.int64))
        return Split(
            images=images.index_select(0, order).contiguous().to(device),
            labels=labels.index_select(0, order).to(device),
        )


@dataclass(frozen=True, eq=False)
class RawData:
    """Arrays of all parts of a data set; `validation` is None if it is split off from `train`."""

    train: LabelledImages
    test: LabelledImages
    classes: int
    validation: LabelledImages | None = None

    def parts(self) -> dict[str, LabelledImages]:
        """The parts by name, without a missing validation part."""
        parts = {"train": self.train, "test": self.test}
        return parts if self.validation is None else parts | {"validation": self.validation}

    def check(self, source: str) -> None:
        """Raise BenchError unless the arrays fit together.

        Args:
            source: source of the arrays, for the message.

        Raises:
            BenchError: an array has a wrong type, shape, length or label.
        """
        for name, part in self.parts().items():
            problem = _problem(part, classes=self.classes)
            if problem is None and part.images.shape[1:] != self.train.images.shape[1:]:
                problem = (
                    f"images are {part.images.shape[1:]} and the training images are "
                    f"{self.train.images.shape[1:]}, and they must agree"
                )
            if problem is not None:
                raise BenchError(f"{source}: {name} {problem}")


def _problem(part: LabelledImages, *, classes: int) -> str | None:
    """A description of the error in the arrays of one part, or None."""
    images, labels = part.images, part.labels
    if images.dtype != np.uint8:
        return f"images have type {images.dtype} and must be uint8 (0 to 255) or floats in [0, 1]"
    if images.ndim not in (3, 4) or 0 in images.shape:
        return (
            f"images have shape {images.shape} and must be (n, height, width) or "
            "(n, height, width, channels) with n >= 1"
        )
    if labels.dtype.kind not in "iu":
        lost = " (some are NaN)" if labels.dtype.kind == "f" and np.isnan(labels).any() else ""
        return (
            f"labels have type {labels.dtype} and must be integers{lost}: save labels.astype(int)"
        )
    if labels.shape != images.shape[:1]:
        return f"labels have shape {labels.shape} and must be ({len(images)},), one for each image"
    smallest, largest = int(labels.min()), int(labels.max())
    if smallest < 0 or largest >= classes:
        return f"labels lie in {smallest}..{largest} and must lie in 0..{classes - 1}"
    return None
