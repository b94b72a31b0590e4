"""Workplaces for tests: a folder of records, and overrides of every run."""

from __future__ import annotations

from pathlib import Path

from bregbench.runs.workplace import Workplace


def at(records: Path, *overrides: str) -> Workplace:
    """A workplace whose records lie in a folder called `records` (or in none)."""
    return Workplace(results=records.parent, more=overrides)


def local_place(*overrides: str) -> Workplace:
    """A workplace without records."""
    return Workplace(more=overrides)
