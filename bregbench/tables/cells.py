"""Filling a table from records: a pure function of the files that runs have left."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from bregbench.runs.workplace import Workplace
from bregbench.storage.directory import RunDirectory
from bregbench.tables.elements import named
from bregbench.tables.precisions import finished
from bregbench.tables.published import UNITS, Published
from bregbench.tables.spec import Table
from bregbench.tables.verdicts import Better, Circumstances, Judgement, Verdict, holds, judge


@dataclass(frozen=True)
class Cell:
    """One cell: the published number, our values, one per seed, and the verdict."""

    row: str
    column: str
    published: Published
    values: list[float]
    judgement: Judgement


@dataclass(frozen=True)
class FilledRow:
    """One row: its cells and the finished runs behind them, by seed.

    If points or parts of the row have their own runs, `columns` holds the runs of each column, and
    `runs` those of the first column that has any.
    """

    label: str
    cells: dict[str, Cell]
    runs: dict[int, RunDirectory]
    columns: dict[str, dict[int, RunDirectory]] = field(default_factory=dict)

    def runs_of(self, column: str) -> dict[int, RunDirectory]:
        """The finished runs behind a cell, by seed."""
        return self.columns.get(column, self.runs)


def fill(
    table: Table,
    published: dict[tuple[str, str], Published],
    place: Workplace,
) -> list[FilledRow]:
    """Fill the rows of the published table in its order, or all rows of a table without published numbers.

    Rows without a published number follow where the table has extra columns to show in them.

    Args:
        table: what the rows and columns are.
        published: the printed numbers.
        place: where records and finished runs are looked for.
    """
    if table.ours:
        published = {
            (row, name): Published.nothing(column.unit)
            for row in table.rows
            for name, column in table.columns.items()
        }
    labels = list(dict.fromkeys(row for row, _ in published))
    points = {row for label in labels for row in table.points_of(label)}
    more = [row for row in table.rows if row not in points]
    extra = {
        (label, name): Published.nothing(column.unit)
        for label in [*labels, *more]
        for name, column in table.columns.items()
        if column.extra and label in table.rows and not table.rows[label].not_run
        if (label, name) not in published
    }
    labels += [row for row in more if any(label == row for label, _ in extra)]
    published = published | extra
    return [_fill_row(table, label, published, place) for label in labels]


def _fill_row(
    table: Table,
    label: str,
    published: dict[tuple[str, str], Published],
    place: Workplace,
) -> FilledRow:
    columns = [column for row, column in published if row == label]
    keys = {column: (table.row_of(label, column), table.part(column)) for column in columns}
    found = {
        (row, part): finished_runs(table, row, place, part=part)
        for row, part in dict.fromkeys(keys.values())
        if row in table.rows
    }
    runs = {column: found.get(key, {}) for column, key in keys.items()}
    values = {column: _values(table, label, column, published, runs[column]) for column in columns}
    cells: dict[str, Cell] = {}
    # Densities first: the verdict on an accuracy depends on the verdicts on its densities.
    for column in sorted(columns, key=lambda name: bool(_relatives(table, name, columns).beside)):
        printed = published[label, column]
        known = _circumstances(
            table, label, column, published, values, cells, run=bool(runs[column])
        )
        judgement = judge(values[column], printed, known)
        cells[column] = Cell(label, column, printed, values[column], judgement)
    ordered = {column: cells[column] for column in columns}
    first = next((by_seed for by_seed in runs.values() if by_seed), {})
    several = set(keys.values()) != {(label, "")}
    return FilledRow(label, ordered, first, runs if several else {})


def finished_runs(
    table: Table, label: str, place: Workplace, *, part: str = ""
) -> dict[int, RunDirectory]:
    """The finished runs of a row, or of one part of it, by seed."""
    if table.not_run(label, part):
        return {}
    found = {seed: finished(table, label, seed, place, part=part) for seed in table.seeds}
    return {seed: behind[1] for seed, behind in found.items() if behind is not None}


def metric_of(run: RunDirectory, metric: str, *, variant: str, selection: str) -> float | None:
    """A metric of a finished run: of its final evaluation, else of the selected epoch, else None.

    `metric@epoch` is the metric after that epoch, counted from 1; epoch 0 is the start of the run.
    Epochs measure the trained network only, not its other variants.
    """
    summary = run.read_summary()
    metric, _, at = metric.partition("@")
    final: dict[str, float] = summary["final"].get(variant, {}).get(selection, {})
    if not at and metric in final:
        return final[metric]
    if variant != "trained":
        return None
    if at == "0":
        return summary["initial"].get(metric)
    selected = summary["best"]["epoch"] if selection == "best" else summary["epochs"]
    epoch = int(at) if at else selected
    rows: list[dict[str, Any]] = [row for row in run.read_metrics() if row["epoch"] == epoch]
    return rows[0].get(metric) if rows else None


def _values(
    table: Table,
    label: str,
    column: str,
    published: dict[tuple[str, str], Published],
    runs: dict[int, RunDirectory],
) -> list[float]:
    row = table.row_of(label, column)
    if row not in table.rows:
        return []
    metric, selection = table.metric(label, column), table.selection_of(column)
    found = [
        metric_of(run, metric, variant=table.rows[row].variant, selection=selection)
        for run in runs.values()
    ]
    factor = UNITS[published[label, column].unit]
    return [factor * value for value in found if value is not None]


@dataclass(frozen=True)
class _Relatives:
    """The columns of a row on which the verdict on another column depends, as in `Column`."""

    beside: list[str]
    against: list[str]


def _relatives(table: Table, column: str, columns: Collection[str]) -> _Relatives:
    known = table.column(column)
    if known is None:
        return _Relatives([], [])
    beside = [name for other in known.beside for name in _at(other, column, columns)]
    against = [name for other in known.against for name in _at(other, column, columns)]
    return _Relatives(beside, against)


def _at(other: str, column: str, columns: Collection[str]) -> list[str]:
    """The columns of the metric `other` that belong to `column`.

    For a point `metric@x` this is the point `other@x`, or all points of `other` if that one was not
    published.
    """
    _, at, x = column.rpartition("@")
    if not at or other in columns:
        return [other] if other in columns else []
    point = f"{other}@{x}"
    return [point] if point in columns else [c for c in columns if c.startswith(f"{other}@")]


def _circumstances(
    table: Table,
    label: str,
    column: str,
    published: dict[tuple[str, str], Published],
    values: dict[str, list[float]],
    cells: dict[str, Cell],
    *,
    run: bool,
) -> Circumstances:
    """What the verdict on a cell depends on besides its numbers."""
    known = table.column(column)
    name, part = table.row_of(label, column), table.part(column)
    row = table.rows.get(name)
    if row is None:
        return Circumstances(missing="no config for this row yet")
    none = table.not_run(name, part) or row.missing or table.detail(part).missing or table.missing
    missing = "not measured by these runs" if run else none
    if known is None:
        return Circumstances(missing=missing)
    relatives = _relatives(table, column, values)
    accepted = (Verdict.MATCHED, Verdict.PASS, Verdict.BETTER, Verdict.BY_CONSTRUCTION)
    unmatched = [c for c in relatives.beside if cells[c].judgement.verdict not in accepted]
    lost = [
        other
        for other in relatives.against
        if not holds(values[other], published[label, other], _better(table, other))
    ]
    return Circumstances(
        better=known.better,
        steered=named(column, row.steered),
        constructed=named(column, row.constructed),
        unmatched=tuple(table.header(other) for other in unmatched),
        lost=tuple(table.header(other) for other in lost),
        missing=missing,
    )


def _better(table: Table, column: str) -> Better:
    known = table.column(column)
    return known.better if known is not None else Better.neither
