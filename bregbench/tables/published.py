"""The numbers that the papers print, as `results/published/` holds them."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from bregbench.foundations.errors import BenchError

#: factors that convert a stored metric (a fraction, a count, seconds, bytes) to a unit
UNITS = {
    "%": 100.0,
    "1": 1.0,
    "1e-3": 1e3,
    "M": 1e-6,
    "MMACs": 1e-6,
    "TMACs": 1e-12,
    "s": 1.0,
    "MB": 1e-6,
    "px": 1.0,
    "of 64": 64.0,
    "of 784": 784.0,
}


@dataclass(frozen=True)
class Published:
    """One printed number.

    Attributes:
        value: in the paper's unit.
        unit: a key of `UNITS`.
        margin: largest accepted distance of our number, in `unit`; fixed before the first run.
        source: table or page of the paper; `excluded:` and a reason for a doubtful number.
    """

    value: float
    unit: str
    margin: float
    source: str

    @classmethod
    def nothing(cls, unit: str) -> Published:
        """The placeholder of a cell without a published number."""
        return cls(math.nan, unit, math.nan, "")

    @property
    def given(self) -> bool:
        """Whether there is a printed number at all."""
        return not math.isnan(self.value)

    @property
    def excluded(self) -> bool:
        """Whether the source says that this number is not to be judged."""
        return "excluded:" in self.source


def read_published(path: Path) -> dict[tuple[str, str], Published]:
    """All cells of a table by (row, column), in the order of the file.

    Raises:
        BenchError: no such file, or a unit that is not known.
    """
    if not path.is_file():
        raise BenchError(f"published numbers {path} are missing: give results_dir=FOLDER")
    cells: dict[tuple[str, str], Published] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if line["unit"] not in UNITS:
                raise BenchError(f"{path}: unit {line['unit']} is unknown: use {', '.join(UNITS)}")
            cells[line["row"], line["column"]] = Published(
                float(line["value"]), line["unit"], float(line["margin"]), line["source"]
            )
    return cells
