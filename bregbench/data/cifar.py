"""CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bregbench.data.archive import read_archive
from bregbench.data.augment import Augment
from bregbench.data.base import DatasetConfig
from bregbench.data.digests import canonical_order, digest_unordered
from bregbench.data.genuine import KnownDataset
from bregbench.data.raw import LabelledImages, RawData
from bregbench.data.torchvision_source import labelled, read_torchvision
from bregbench.foundations.errors import BenchError

_COUNTS = (50_000, 10_000)
_SHAPE = (32, 32, 3)
# `digest_unordered` of the 50,000 + 10,000 genuine images and labels.
GENUINE_CIFAR10 = "a4197f0281184043e749717b4c2cc44ccb8dcf6b9efec4a5ae9de54cc41412b9"


@dataclass
class Cifar10(KnownDataset):
    """Colour photographs of ten classes, 32 x 32: 45,000 for training, 5,000 validation, 10,000 test.

    The images come from torchvision's folder, or from an array archive at `path`. Copies of the data set
    may differ in the order of their images, so images are sorted by their content first: a run does not
    depend on the copy that it reads. torchvision compares its files with known checksums; an archive is
    compared with the digest of the genuine content.
    """

    kind: ClassVar[str] = "cifar10"
    reads_archive: ClassVar[bool] = True

    validation: int | None = 5_000
    augment: Augment = Augment.crop_flip

    def load(self) -> RawData:
        """See `DatasetConfig.load`."""
        if self.path is None:
            folder = "cifar-10-batches-py"
            raw = read_torchvision(self, _cifar10, folder=folder, counts=_COUNTS, classes=10)
        else:
            raw = self.verified(_read_cifar10_archive(self.path), f"data.path={self.path}")
        return RawData(
            train=canonical_order(raw.train), test=canonical_order(raw.test), classes=raw.classes
        )

    def strange(self, raw: RawData) -> str | None:
        """See `KnownDataset.strange`."""
        same = digest_unordered(raw) == GENUINE_CIFAR10
        return None if same else "the images and labels are not the genuine ones"

    def fingerprint(self) -> str | None:
        """None for the genuine images, from files or an archive; else a digest of the archive's content."""
        if self.path is None:
            return None  # torchvision compares its files with known checksums.
        digest = digest_unordered(_read_cifar10_archive(self.path))
        return None if digest == GENUINE_CIFAR10 else digest


@dataclass
class Cifar100(DatasetConfig):
    """Photographs of 100 classes, with the sizes of CIFAR-10; torchvision checks the files' checksums."""

    kind: ClassVar[str] = "cifar100"

    validation: int | None = 5_000
    augment: Augment = Augment.crop_flip

    def load(self) -> RawData:
        """See `DatasetConfig.load`."""
        folder = "cifar-100-python"
        return read_torchvision(self, _cifar100, folder=folder, counts=_COUNTS, classes=100)


def _read_cifar10_archive(path: str) -> RawData:
    raw = read_archive(path, classes=10)
    if raw.train.images.shape[1:] != _SHAPE or raw.validation is not None:
        raise BenchError(
            f"data.path={path} is not CIFAR-10, which has images of shape {_SHAPE} (here "
            f"{raw.train.images.shape[1:]}) and no validation arrays: use dataset=arrays instead"
        )
    return raw


def _cifar10(root: Path, is_train: bool, download: bool) -> LabelledImages:
    from torchvision.datasets import CIFAR10

    part = CIFAR10(root, train=is_train, download=download)
    return labelled(part.data, part.targets)


def _cifar100(root: Path, is_train: bool, download: bool) -> LabelledImages:
    from torchvision.datasets import CIFAR100

    part = CIFAR100(root, train=is_train, download=download)
    return labelled(part.data, part.targets)
