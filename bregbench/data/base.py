"""Base of the data set configs: common fields, splitting, and the transfer to the device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from bregbench.data.augment import Augment
from bregbench.data.normalization import Normalise, Normalization, compute_normalization
from bregbench.data.raw import LabelledImages, RawData
from bregbench.data.split import Data, Split
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.identity import local
from bregbench.foundations.ranges import check_counts


@dataclass
class DatasetConfig(ABC):
    """Base of the data set schemas; `kind` is the name typed as ``dataset=...``.

    Attributes:
        root: folder with the data sets, laid out as torchvision does (``root/MNIST/raw/...``).
        path: an array archive (``.npz``) that is read in place of `root`, for some data sets.
        download: whether missing files are fetched into `root`.
        limit: number of training images that are used; None is all of them.
        validation: number of training images that become validation images; 0 for none, None for the
            archive's own validation images or, without these, a tenth.
        split_seed: seed of the choice of validation images, which does not depend on the run's seed.
        normalise: normalisation of inputs by statistics of the training split or by fixed numbers:
            ``half`` is (x - 0.5) / 0.5.
        augment: augmentation of training images.
    """

    kind: ClassVar[str]
    reads_archive: ClassVar[bool] = False

    root: str = local("data")
    path: str | None = local(None)
    download: bool = local(False)
    limit: int | None = None
    validation: int | None = None
    split_seed: int = 0
    normalise: Normalise = Normalise.channel
    augment: Augment = Augment.none

    def check(self, at: str) -> None:
        """Check all values that can be checked before files are read.

        Args:
            at: key of this data set, `data`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        check_counts(self, at, "limit")
        check_counts(self, at, "validation", "split_seed", least=0)

    @abstractmethod
    def load(self) -> RawData:
        """Read the images and labels from their files.

        Raises:
            BenchError: files are missing or damaged.
        """

    def fingerprint(self) -> str | None:
        """Digest of the content; None if the name of the data set determines the content."""
        return None

    def notes(self) -> list[str]:
        """Sentences about the data that a reader of the run's record must know."""
        return []

    def pathless(self, path: str) -> str:
        """Why `path` has no meaning here, and what to give instead."""
        return (
            f"dataset={self.kind}, which is read from data.root={self.root}: leave it out, or use "
            "dataset=arrays for an archive"
        )

    def statistics(self, train: Split) -> Normalization:
        """Mean and deviation for the normalisation of inputs."""
        return compute_normalization(train.images, self.normalise)

    def build(self, device: torch.device) -> Data:
        """The three splits on the device, with the statistics of the training split.

        Raises:
            BenchError: files are missing or damaged, or `limit` or `validation` is out of range.
        """
        if self.path is not None and not self.reads_archive:
            raise BenchError(f"data.path={self.path} has no meaning for {self.pathless(self.path)}")
        raw = self.load()
        train, validation = self._carve(raw, device=device)
        return Data(
            train=train,
            validation=validation,
            test=raw.test.select(torch.arange(len(raw.test)), device=device),
            classes=raw.classes,
            normalization=self.statistics(train),
            name=self.kind,
        )

    def _carve(self, raw: RawData, *, device: torch.device) -> tuple[Split, Split]:
        """Training and validation images: of a fixed random order, the first ones are for validation.

        Both splits are shuffled, so the first images of a split are a random sample of the split. A
        larger validation split contains a smaller one.
        """
        available = len(raw.train)
        carved = self._validation_size(available, given=raw.validation)
        remaining = available - carved
        if self.limit is not None:
            allowed = f"in 1..{remaining}, the training images of {self.kind}"
            require(1 <= self.limit <= remaining, "data.limit", self.limit, allowed)
            remaining = self.limit
        generator = torch.Generator().manual_seed(self.split_seed)
        order = torch.randperm(available, generator=generator)
        train = raw.train.select(order[carved : carved + remaining], device=device)
        if raw.validation is not None:
            everything = torch.arange(len(raw.validation))
            return train, raw.validation.select(everything, device=device)
        return train, raw.train.select(order[:carved], device=device)

    def _validation_size(self, available: int, *, given: LabelledImages | None) -> int:
        """Number of training images that become validation images."""
        if given is not None:
            if self.validation is not None:
                source = f"the archive {self.path} brings" if self.path else "the data bring"
                raise BenchError(
                    f"data.validation={self.validation} and {source} {len(given)} validation images of "
                    f"{'its' if self.path else 'their'} own: leave data.validation out"
                )
            return 0
        if self.validation is None:
            return available // 10
        allowed = f"in 0..{available - 1}, below the {available} training images of {self.kind}"
        require(0 <= self.validation < available, "data.validation", self.validation, allowed)
        return self.validation
