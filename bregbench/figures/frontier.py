"""Accuracy against density and seconds: which methods are on the front, and what seeds say of it."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bregbench.figures.base import Figure, Printed
from bregbench.figures.frontier_panels import draw_frontier
from bregbench.figures.frontier_points import (
    ALPHA,
    Comparison,
    Point,
    best_of,
    compare,
    points_of,
)
from bregbench.foundations.files import write_text
from bregbench.runs.workplace import Workplace
from bregbench.tables.cells import FilledRow

_COLUMNS = (
    *(
        "part",
        "row",
        "mean",
        "low",
        "high",
        "n",
        "density",
        "seconds",
        "against",
        "difference",
        "p",
    ),
    *("p_holm", "p_joint", "significant", "equivalent"),
)


@dataclass
class Frontier(Figure):
    """Accuracy of every method at every density, with intervals, tests, and the Pareto front.

    Every part of the table is a density; its columns are `<part> test/accuracy` and `<part> density/total`.

    Attributes:
        reference: the row that all others are compared with, beside the best one.
        margin: points within which two rows count as equal.
    """

    kind: ClassVar[str] = "frontier"
    reference: str = "LinBreg"
    margin: float = 0.3

    def check(self) -> None:
        """Refuse names that nothing stands behind."""
        super().check()
        self.require_name(self.reference, self.rows, "reference")

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_frontier({part: points_of(rows, part) for part in self.parts}, self.reference, output)

    def render(
        self, published: Printed, place: Workplace, *, folder: Path, verdicts: bool
    ) -> tuple[list[FilledRow], list[Path]]:
        """Also write the comparisons of the rows, `<name>.comparisons.md` and `.csv`."""
        rows, paths = super().render(published, place, folder=folder, verdicts=verdicts)
        texts = {"md": self.findings(rows) + "\n", "csv": self.to_csv(rows)}
        more = [folder / f"{self.name}.comparisons.{ending}" for ending in texts]
        for path, text in zip(more, texts.values(), strict=True):
            write_text(path, text)
        return rows, paths + more

    def sections(self, rows: list[FilledRow]) -> dict[str, str]:
        """The findings, for pages with the markers `<name>_findings`."""
        return {f"{self.name}_findings": self.findings(rows)}

    def findings(self, rows: list[FilledRow]) -> str:
        """What was found, as Markdown: a table a density, best method first."""
        lines: list[str] = []
        for part in self.parts:
            points = sorted(points_of(rows, part), key=lambda point: -point.mean)
            if points:
                lines += [f"**{self.title}, {part}**", "", *self._lines(points), ""]
        done = {row.label for row in rows if row.runs}
        missing = [row for row in self.rows if row not in done]
        if not lines:
            return f"{self.title}: no run has finished yet, so nothing is found yet."
        lines.append(
            f"\\* differs (joint sign-flip test at {ALPHA:g}); = within {self.margin:g} points (two "
            f"one-sided t-tests). Not run yet: {', '.join(missing) or 'none'}."
        )
        return "\n".join(lines)

    def _lines(self, points: list[Point]) -> list[str]:
        best = best_of(points)
        to_best = compare(points, best, self.margin) if best else {}
        to_reference = compare(points, self.reference, self.margin)
        heads = ["method", "test [%]", "95 % interval", "n", "density [%]", "s"]
        heads += [f"to {best}", f"to {self.reference}"]
        lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        for point in points:
            low, high = point.interval
            shown = [f"{point.mean:.2f}", f"{low:.2f} to {high:.2f}", str(len(point.values))]
            shown += [f"{point.density:.2f}", f"{point.seconds:.0f}"]
            shown += [str(found.get(point.row, "")) for found in (to_best, to_reference)]
            lines.append(f"| {point.row} | " + " | ".join(shown) + " |")
        return lines

    def to_csv(self, rows: list[FilledRow]) -> str:
        """One line per row, part and row that it is compared with."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for part in self.parts:
            points = points_of(rows, part)
            for other in dict.fromkeys(filter(None, (best_of(points), self.reference))):
                found = compare(points, other, self.margin)
                for point in points:
                    if point.row in found:
                        writer.writerow((part, *_numbers(point), *_tests(found[point.row])))
        return text.getvalue()


def _numbers(point: Point) -> tuple[str, ...]:
    low, high = point.interval
    numbers = (f"{number:.4f}" for number in (point.mean, low, high))
    return (
        *(point.row, *numbers, str(len(point.values))),
        *(f"{point.density:.4f}", f"{point.seconds:.1f}"),
    )


def _tests(found: Comparison) -> tuple[str, ...]:
    ps = (f"{p:.4g}" for p in (found.p, found.p_holm, found.p_joint))
    marks = ("yes" if mark else "" for mark in (found.significant, found.equivalent))
    return (found.against, f"{found.difference:+.4f}", *ps, *marks)
