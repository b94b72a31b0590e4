"""MNIST and Fashion-MNIST."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bregbench.data.base import DatasetConfig
from bregbench.data.raw import LabelledImages, RawData
from bregbench.data.torchvision_source import labelled, read_torchvision

_COUNTS = (60_000, 10_000)


@dataclass
class Mnist(DatasetConfig):
    """Handwritten digits, grey, 28 x 28: 55,000 for training, 5,000 validation, 10,000 test."""

    kind: ClassVar[str] = "mnist"

    validation: int | None = 5_000

    def load(self) -> RawData:
        """See `DatasetConfig.load`."""
        return read_torchvision(self, _mnist, folder="MNIST/raw", counts=_COUNTS, classes=10)


@dataclass
class FashionMnist(DatasetConfig):
    """Pieces of clothing, in the sizes of MNIST."""

    kind: ClassVar[str] = "fashion_mnist"

    validation: int | None = 5_000

    def load(self) -> RawData:
        """See `DatasetConfig.load`."""
        return read_torchvision(
            self, _fashion_mnist, folder="FashionMNIST/raw", counts=_COUNTS, classes=10
        )


def _mnist(root: Path, is_train: bool, download: bool) -> LabelledImages:
    from torchvision.datasets import MNIST

    part = MNIST(root, train=is_train, download=download)
    return labelled(part.data, part.targets)


def _fashion_mnist(root: Path, is_train: bool, download: bool) -> LabelledImages:
    from torchvision.datasets import FashionMNIST

    part = FashionMNIST(root, train=is_train, download=download)
    return labelled(part.data, part.targets)
