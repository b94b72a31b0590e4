"""MNIST and Fashion-MNIST."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bregbench.data.digests import digest_arrays
from bregbench.data.genuine import KnownDataset, strange_arrays
from bregbench.data.raw import LabelledImages, RawData
from bregbench.data.torchvision_source import labelled, read_torchvision

_COUNTS = (60_000, 10_000)


@dataclass
class Mnist(KnownDataset):
    """Handwritten digits, grey, 28 x 28: 55,000 for training, 5,000 validation, 10,000 test."""

    kind: ClassVar[str] = "mnist"
    folder: ClassVar[str] = "MNIST/raw"

    validation: int | None = 5_000

    def load(self) -> RawData:
        """See `DatasetConfig.load`.

        Raises:
            BenchError: files are missing, damaged or not genuine (see `verify`).
        """
        open_part = _OPEN[self.kind]
        raw = read_torchvision(self, open_part, folder=self.folder, counts=_COUNTS, classes=10)
        return self.verified(raw, f"{self.folder} in data.root={self.root}")

    def strange(self, raw: RawData) -> str | None:
        """See `KnownDataset.strange`."""
        return strange_arrays(raw, self.kind)

    def fingerprint(self) -> str | None:
        """None for the genuine images, which the name determines; else a digest of the content."""
        if self.verify:
            return None
        raw = self.load()
        return None if self.strange(raw) is None else digest_arrays(raw)


@dataclass
class FashionMnist(Mnist):
    """Photographs of clothing, with the sizes of MNIST."""

    kind: ClassVar[str] = "fashion_mnist"
    folder: ClassVar[str] = "FashionMNIST/raw"


def _mnist(root: Path, is_train: bool, download: bool) -> LabelledImages:
    from torchvision.datasets import MNIST

    part = MNIST(root, train=is_train, download=download)
    return labelled(part.data, part.targets)


def _fashion_mnist(root: Path, is_train: bool, download: bool) -> LabelledImages:
    from torchvision.datasets import FashionMNIST

    part = FashionMNIST(root, train=is_train, download=download)
    return labelled(part.data, part.targets)


_OPEN = {Mnist.kind: _mnist, FashionMnist.kind: _fashion_mnist}
