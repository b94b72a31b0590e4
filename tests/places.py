"""Places that tests look for: the repository, the real data, folders of records."""

from __future__ import annotations

from pathlib import Path

from bregbench.runs.workplace import Workplace

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


def at(records: Path, *overrides: str) -> Workplace:
    """A workplace whose records lie in a folder called `records` (or in none)."""
    return Workplace(results=records.parent, more=overrides)


def local_place(*overrides: str) -> Workplace:
    """A workplace without records."""
    return Workplace(more=overrides)
