"""Places that tests look for: the repository, the real data, folders of records; what repeats in a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bregbench.measures.cost import TIMES
from bregbench.runs.workplace import Workplace

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


def at(records: Path, *overrides: str) -> Workplace:
    """A workplace whose records lie in a folder called `records` (or in none)."""
    return Workplace(results=records.parent, more=overrides)


def local_place(*overrides: str) -> Workplace:
    """A workplace without records."""
    return Workplace(more=overrides)


def without_times(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics without those that differ whenever they are taken."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def final_without_times(summary: dict[str, Any]) -> dict[str, Any]:
    """The final metrics of a summary by variant and selection, without the times that runs take."""
    return {
        variant: {selection: without_times([found])[0] for selection, found in metrics.items()}
        for variant, metrics in summary["final"].items()
    }
