"""A user's own data, made by a function of theirs."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from bregbench.data.augment import Augment
from bregbench.data.base import DatasetConfig
from bregbench.data.digests import digest_arrays
from bregbench.data.given import read_given
from bregbench.data.raw import RawData
from bregbench.foundations.errors import BenchError
from bregbench.foundations.factories import call, check_factory, source_digest
from bregbench.foundations.ranges import MOST, check_counts


@dataclass
class Custom(DatasetConfig):
    """What `factory` returns; see `bregbench.data.given.FORMS` for what that may be.

    The function gets `root` and `download` where it has parameters of these names. All samples are read
    once and held in memory, so random transforms belong into `augment`. The content names the run; for the
    function torch, NumPy and Python draw the same random numbers every time.

    Attributes:
        factory: ``package.module:function``; modules in the working directory count.
        arguments: of the function, a mapping by name; None for none.
        classes: number of classes; None takes the largest training label plus one.
    """

    kind: ClassVar[str] = "custom"

    factory: str = ""
    #: no dictionary, because Hydra would let nobody add a key to it
    arguments: Any = None
    classes: int | None = None

    def check(self, at: str) -> None:
        """See `DatasetConfig.check`."""
        super().check(at)
        check_factory(self.factory, self.arguments, at)
        check_counts(self, at, "classes", most=MOST)

    def load(self) -> RawData:
        """See `DatasetConfig.load`."""
        return self._read()[0]

    def fingerprint(self) -> str | None:
        """SHA-256 of all inputs and labels; None without a function."""
        return self._read()[1] if self.factory else None

    def pathless(self, path: str) -> str:
        """See `DatasetConfig.pathless`."""
        return (
            f"dataset=custom, whose function reads what it wants: data.arguments='{{path: {path}}}'"
        )

    def source_digest(self) -> str | None:
        """SHA-256 of the file with the function, which is no part of the run's identity."""
        return source_digest(self.factory)

    def notes(self) -> list[str]:
        """Whether inputs leave the interval that attacks presume."""
        images = self.load().train.images
        low, high = images.min(), images.max()
        if images.dtype == np.uint8 or 0 <= low <= high <= 1:
            return []
        return [
            f"inputs lie in {low:.3g}..{high:.3g}: evaluators and objectives that attack presume [0, 1]"
        ]

    def _read(self) -> tuple[RawData, str]:
        """The data and their digest; the last ones stay, because a run asks for its name often."""
        key = json.dumps([self.factory, self.arguments, self.classes, self.root, self.download])
        if key not in _last:
            with same_numbers():
                offered = {"root": self.root, "download": self.download}
                given = call(self.factory, self.arguments, offered, at="data")
                raw = read_given(given, source=f"data.factory={self.factory}", classes=self.classes)
            _last.clear()
            _last[key] = raw, digest_arrays(raw)
        raw, digest = _last[key]
        _, _, height, width = raw.train.images.shape
        if self.augment is not Augment.none and min(height, width) == 1:
            raise BenchError(
                f"data.augment={self.augment} crops and flips images, and inputs of {self.factory} are "
                f"{height} x {width}: leave it out"
            )
        return raw, digest


_last: dict[str, tuple[RawData, str]] = {}


@contextlib.contextmanager
def same_numbers() -> Iterator[None]:
    """Within the block global generators draw what they draw every time; they are put back afterwards."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
