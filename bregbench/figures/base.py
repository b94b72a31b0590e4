"""A figure: a table whose rows are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bregbench.foundations.console import say
from bregbench.foundations.errors import BenchError
from bregbench.runs.workplace import Workplace
from bregbench.storage.directory import RunDirectory
from bregbench.tables.cells import FilledRow, fill
from bregbench.tables.published import UNITS, Published
from bregbench.tables.rendering import write_table
from bregbench.tables.spec import Table

#: (label of a row, metric) -> (epoch or place, value in the metric's own unit)
Marks = dict[tuple[str, str], list[tuple[float, float]]]

#: published numbers by row and column
Printed = dict[tuple[str, str], Published]


@dataclass
class Figure(Table):
    """A figure whose curves or pictures are rows; what was read off it is a table with verdicts.

    A kind of figure is a dataclass with the options that it reads and the method `draw`; a module of
    `bregbench.figures` needs no registration.
    """

    #: the word after `kind` in a file of configs/figure
    kind: ClassVar[str]
    #: whether the figure shows what runs have left; an idea needs functions alone
    from_runs: ClassVar[bool] = True

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file.

        Args:
            rows: the filled rows that have a finished run; at least one if `from_runs`.
            published: the points read off the published figure.
            output: image file; its ending is the format.

        Raises:
            BenchError: what the figure shows was not kept by a run, or a data file is missing.
        """
        raise NotImplementedError

    def draw_files(self, rows: list[FilledRow], published: Printed, folder: Path) -> list[Path]:
        """Draw `<name>.png` and `.pdf`; no files where the figure has rows and no run has finished.

        Args:
            rows: the filled rows, which know their runs.
            published: the points read off the published figure.
            folder: where to put the files.
        """
        rows = [row for row in rows if row.runs]
        if self.from_runs and not rows:
            return []
        paths = [folder / f"{self.name}.{ending}" for ending in ("png", "pdf")]
        try:
            for path in paths:
                self.draw(rows, published, path)
        except BenchError as error:
            # The numbers are worth having without the pictures, whose files need not be everywhere.
            say(f"note: {self.name} is not drawn: {error}")
            return []
        return paths

    def render(
        self,
        published: Printed,
        place: Workplace,
        *,
        folder: Path,
        verdicts: bool,
    ) -> tuple[list[FilledRow], list[Path]]:
        """Fill the rows from records, write their table and draw.

        Args:
            published: the points read off the published figure.
            place: where records and finished runs are looked for.
            folder: where to put the files.
            verdicts: False for reduced runs, which are never compared.
        """
        rows = fill(self, published, place)
        paths = write_table(self, rows, folder, verdicts=verdicts) if rows else []
        return rows, paths + self.draw_files(rows, published, folder)

    def sections(self, rows: list[FilledRow]) -> dict[str, str]:
        """Parts of pages beside that with its name, by the names of their markers.

        Args:
            rows: the filled rows.
        """
        return {}


def check_panels(figure: Figure, panels: list[str]) -> None:
    """Refuse a panel with which no row's label begins.

    Raises:
        BenchError: naming the panel and the rows.
    """
    for panel in panels:
        if not any(label.startswith(panel) for label in figure.rows):
            raise BenchError(
                f"{figure.name}: panels names {panel}, with which the label of no row begins: "
                f"{', '.join(figure.rows)}"
            )


def first_runs(rows: list[FilledRow]) -> dict[str, RunDirectory]:
    """The run of the first seed of every row, by the row's label."""
    return {row.label: next(iter(row.runs.values())) for row in rows}


def marks_of(published: Printed) -> Marks:
    """Published points by row and metric: those over epochs, and the family `curve/<x>` over x."""
    marks: Marks = {}
    for (label, column), point in published.items():
        metric, at, epoch = column.partition("@")
        family, _, name = metric.partition("/")
        value = point.value / UNITS[point.unit]
        if family == "curve" and not at:
            marks.setdefault((label, family), []).append((float(name), value))
        if at:
            marks.setdefault((label, metric), []).append((float(epoch), value))
    return marks
