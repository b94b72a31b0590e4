"""A user's own images, given as an array archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bregbench.data.archive import read_archive
from bregbench.data.base import DatasetConfig
from bregbench.data.digests import digest_arrays
from bregbench.data.raw import RawData
from bregbench.foundations.errors import BenchError
from bregbench.foundations.ranges import MOST, check_counts


@dataclass
class Arrays(DatasetConfig):
    """The arrays of the archive `path`; see `read_archive` for its format.

    Attributes:
        classes: number of classes; None takes the largest training label plus one.
    """

    kind: ClassVar[str] = "arrays"
    reads_archive: ClassVar[bool] = True

    classes: int | None = None

    def check(self, at: str) -> None:
        """See `DatasetConfig.check`."""
        super().check(at)
        check_counts(self, at, "classes", most=MOST)

    def load(self) -> RawData:
        """See `DatasetConfig.load`."""
        if self.path is None:
            raise BenchError("dataset=arrays needs an archive: give data.path=FILE.npz")
        return read_archive(self.path, classes=self.classes)

    def fingerprint(self) -> str | None:
        """SHA-256 of the arrays: the path says nothing about what is in the file."""
        return digest_arrays(self.load())
