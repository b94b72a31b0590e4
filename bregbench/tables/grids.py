"""Layout of the cells of a table on a page, as rows and columns or as curves."""

from __future__ import annotations

from dataclasses import dataclass

from bregbench.tables.cells import Cell, FilledRow
from bregbench.tables.spec import Table


@dataclass(frozen=True)
class Grid:
    """Cells in lines and columns.

    Attributes:
        title: text above the grid; empty for a single grid.
        corner: heading of the labels.
        heads: headings of the columns.
        lines: label and cells of each line; None stands for no cell.
    """

    title: str
    corner: str
    heads: list[str]
    lines: list[tuple[str, list[Cell | None]]]


def grids_of(table: Table, rows: list[FilledRow]) -> list[Grid]:
    """One grid for a table; for curves of points `metric@x`, one grid per panel and one line per x."""
    if table.layout().curves:
        return [_curves(table, title, inside) for title, inside in _panels(table, rows)]
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    heads = [_header(table, rows, column) for column in columns]
    lines = [(row.label, [row.cells.get(column) for column in columns]) for row in rows]
    return [Grid("", "row", heads, lines)]


def _panels(table: Table, rows: list[FilledRow]) -> list[tuple[str, list[FilledRow]]]:
    groups = [(p, [row for row in rows if row.label.startswith(p)]) for p in table.layout().panels]
    return [group for group in groups if group[1]] or [("", rows)]


def _curves(table: Table, title: str, rows: list[FilledRow]) -> Grid:
    points = {column for row in rows for column in row.cells}
    places = sorted({column.partition("@")[2] for column in points}, key=float)
    heads = [
        f"{row.label.removeprefix(f'{title}: ')}{_unit(next(iter(row.cells.values())))}"
        for row in rows
    ]
    by_place = [
        {column.partition("@")[2]: cell for column, cell in row.cells.items()} for row in rows
    ]
    lines = [(place, [cells.get(place) for cells in by_place]) for place in places]
    return Grid(title, table.layout().x, heads, lines)


def _header(table: Table, rows: list[FilledRow], column: str) -> str:
    cell = next(row.cells[column] for row in rows if column in row.cells)
    of_curve = table.layout().points
    known = table.column(column) if of_curve else table.columns.get(column)
    header = known.header if known is not None else ""
    if header and column not in table.columns:  # a point of a curve
        header += f", epoch {column.partition('@')[2]}"
    return f"{header or column}{_unit(cell)}"


def _unit(cell: Cell) -> str:
    return f" [{cell.published.unit}]" if cell.published.unit != "1" else ""
