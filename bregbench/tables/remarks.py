"""Lines below a table: remarks, reasons of verdicts, and the runs with their commands."""

from __future__ import annotations

import shlex
from typing import Any

from bregbench.runs.workplace import Workplace
from bregbench.tables.cells import Cell, FilledRow
from bregbench.tables.precisions import asks_auto, precisions_of
from bregbench.tables.spec import Table
from bregbench.tables.verdicts import Verdict, side


def remarks_of(table: Table, rows: list[FilledRow], *, verdicts: bool) -> list[str]:
    """Lines below a table: its remarks, reasons of verdicts, and seeds, device and command of its runs.

    Args:
        table: what the rows and columns are.
        rows: the filled rows.
        verdicts: False for reduced runs, which are never compared.
    """
    lines = [f"- {remark}" for remark in table.remarks]
    if verdicts:
        lines += _moved(table, rows)
        lines += _reasons(table, rows)
    for row in rows:
        for part in table.used_parts():
            columns = [column for column in row.cells if table.part(column) == part]
            if not any(row.runs_of(column) for column in columns):
                continue
            source = source_of(table, row, columns)
            name = f"{row.label}, {part}" if part else row.label
            lines.append(
                f"- {name}: seeds {source['seeds']}, {source['epochs']} epochs, "
                f"{source['device']}, commit {source['commit']}{_precisions(table, row, columns)}; "
                f"`{source['command']}`"
            )
    if any(not row.runs_of(column) for row in rows for column in row.cells):
        selected = table.command or f"table={table.name}"
        lines.append(f"- What was not run is trained by `bregbench reproduce {selected}`")
    return lines


def _moved(table: Table, rows: list[FilledRow]) -> list[str]:
    """One line for each row with columns above and below published numbers that trade off with each other."""
    lines: list[str] = []
    for row in rows:
        traded = {
            name: side(cell.values, cell.published)
            for name, cell in row.cells.items()
            if (known := table.column(name)) is not None and known.against
        }
        above = [table.header(name) for name, moved in traded.items() if moved > 0]
        below = [table.header(name) for name, moved in traded.items() if moved < 0]
        if above and below:
            lines.append(
                f"- {row.label} lies elsewhere on a trade-off: {', '.join(above)} above, "
                f"{', '.join(below)} below the published numbers"
            )
    return lines


def _reasons(table: Table, rows: list[FilledRow]) -> list[str]:
    """Why cells have their verdicts; cells with the same reason stand in one line."""
    reasons: dict[tuple[str, str], list[Cell]] = {}
    wide = 0
    for row in rows:
        for cell in row.cells.values():
            wide += cell.judgement.wide
            if cell.judgement.reason and not cell.judgement.wide:
                key = (cell.judgement.verdict, cell.judgement.reason)
                reasons.setdefault(key, []).append(cell)
    lines = [
        f"- {verdict}, {reason}: {_named(cells, rows)}"
        for (verdict, reason), cells in reasons.items()
    ]
    if wide:
        lines.append(
            f"- {Verdict.INCONCLUSIVE}, the 95 % interval of the mean reaches into the "
            f"margin and beyond it: {wide} cells; the intervals are in {table.name}.csv"
        )
    return lines


def _precisions(table: Table, row: FilledRow, columns: list[str]) -> str:
    """The precisions of the runs of a row with `trainer.precision=auto`; empty for other rows."""
    runs = {run.path: run for column in columns for run in row.runs_of(column).values()}
    part = table.part(columns[0])
    auto = any(
        asks_auto(table, label, Workplace(), part=part) for label in table.points_of(row.label)
    )
    return f", {precisions_of(list(runs.values()))}" if auto else ""


def _named(cells: list[Cell], rows: list[FilledRow]) -> str:
    """Names of cells; a column or a row whose cells are all meant is named once."""
    meant = {(cell.row, cell.column) for cell in cells}
    having: dict[str, list[str]] = {}
    for row in rows:
        for column in row.cells:
            having.setdefault(column, []).append(row.label)
    whole = {
        column
        for column, labels in having.items()
        if len(labels) > 1 and all((label, column) in meant for label in labels)
    }
    if len(whole) == len(having):
        return "everything"
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        others = [column for column in row.cells if column not in whole]
        columns = [column for column in others if (row.label, column) in meant]
        if columns:
            some = tuple(columns) if len(columns) < len(others) else ()
            groups.setdefault(some, []).append(row.label)
    names = [f"all of {column}" for column in having if column in whole]
    for some, labels in groups.items():
        each = "each " if len(labels) > 1 else ""
        names.append(", ".join(labels) + (f" ({each}{', '.join(some)})" if some else ""))
    return "; ".join(names)


def source_of(table: Table, row: FilledRow, columns: list[str]) -> dict[str, Any]:
    """Selection, epochs, seeds, device, commit, record and command of the runs behind cells of a row."""
    runs = {run.path: run for column in columns for run in row.runs_of(column).values()}
    label = table.row_of(row.label, columns[0]) if len(columns) == 1 else row.label
    (part,) = {table.part(column) for column in columns}
    if not runs:
        return {"selection": table.selection, "command": command(table, label, part)}
    summaries = [run.read_summary() for run in runs.values()]

    def joined(key: str) -> str:
        return " ".join(sorted({str(summary[key]) for summary in summaries}))

    return {
        "selection": table.selection,
        "epochs": joined("epochs"),
        "seeds": " ".join(str(seed) for seed in sorted({summary["seed"] for summary in summaries})),
        "device": joined("device_name"),
        "commit": joined("commit"),
        "record": f"{table.experiment or table.name}/{next(iter(runs.values())).name}",
        "command": command(table, label, part),
    }


def command(table: Table, row: str, part: str = "") -> str:
    """The command that regenerates a row, or one part of a row."""
    selected = table.command or f"table={table.name}"
    quoted = [shlex.quote(f'rows=["{row}"]')]
    if part in table.details:
        quoted.append(shlex.quote(f'parts=["{part}"]'))
    return " ".join(["bregbench reproduce", selected, *quoted])
