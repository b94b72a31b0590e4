"""Street View House Numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bregbench.data.base import DatasetConfig
from bregbench.data.raw import LabelledImages, RawData
from bregbench.data.torchvision_source import labelled, read_torchvision

_COUNTS = (73_257, 26_032)


@dataclass
class Svhn(DatasetConfig):
    """Digits of house numbers, colour, 32 x 32: 68,257 + 5,000 + 26,032, without the extra part.

    torchvision compares the files with known checksums.
    """

    kind: ClassVar[str] = "svhn"

    validation: int | None = 5_000

    def load(self) -> RawData:
        """See `DatasetConfig.load`."""
        folder = "train_32x32.mat and test_32x32.mat"
        return read_torchvision(self, _svhn, folder=folder, counts=_COUNTS, classes=10)


def _svhn(root: Path, is_train: bool, download: bool) -> LabelledImages:
    from torchvision.datasets import SVHN

    part = SVHN(str(root), split="train" if is_train else "test", download=download)
    return labelled(part.data.transpose(0, 2, 3, 1), part.labels)
