"""In what finished or unfinished runs differ: their settings, and what was measured of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bregbench.foundations.errors import BenchError
from bregbench.foundations.nearest import unknown
from bregbench.storage.find import SavedRun

#: settings that say where a run works or how it is called, not what it computes
_PLACES = ("runs_dir", "method_name", "data.root", "data.download", "tracking.", "trainer.device")


@dataclass(frozen=True)
class Difference:
    """One setting or metric that differs.

    Attributes:
        kind: `config` or `metric`.
        key: its name, such as `method.lam` or `test/accuracy`.
        values: one a run; None where a run does not have it.
    """

    kind: str
    key: str
    values: tuple[Any, ...]


def differences(
    runs: Sequence[SavedRun], *, variant: str = "trained", selection: str = "last"
) -> list[Difference]:
    """What differs between runs: settings first, then metrics, each in the order of the first run.

    Metrics are those of the last finished epoch and, where the run is complete, of its final evaluation.

    Args:
        runs: two or more.
        variant: network of the final evaluation.
        selection: epoch of the final evaluation, `last` or `best`.

    Raises:
        BenchError: fewer than two runs, or one that has no such variant or selection.
    """
    if len(runs) < 2:
        raise BenchError(f"{len(runs)} runs cannot be compared: give two or more")
    settings = [_settings(run) for run in runs]
    metrics = [_metrics(run, variant, selection) for run in runs]
    return [*_differing("config", settings), *_differing("metric", metrics)]


def as_csv(found: Sequence[Difference], names: Sequence[str]) -> str:
    """Differences as CSV with a column a run; a value that a run does not have is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "key", *names])
    writer.writerows([d.kind, d.key, *("" if v is None else v for v in d.values)] for d in found)
    return text.getvalue()


def _settings(run: SavedRun) -> dict[str, Any]:
    return {key: value for key, value in run.settings.items() if not key.startswith(_PLACES)}


def _metrics(run: SavedRun, variant: str, selection: str) -> dict[str, Any]:
    last = run.rows[-1] if run.rows else {}
    if run.summary is None:
        return last
    final = run.summary["final"]
    for key, name in (("variant", variant), ("selection", selection)):
        if name not in final:
            raise BenchError(unknown(name, final, there=f"{run.path} has", prefix=f"{key}="))
        final = final[name]
    return last | final


def _differing(kind: str, columns: Sequence[dict[str, Any]]) -> list[Difference]:
    keys = dict.fromkeys(key for column in columns for key in column)
    rows = [Difference(kind, key, tuple(column.get(key) for column in columns)) for key in keys]
    return [row for row in rows if any(value != row.values[0] for value in row.values)]
