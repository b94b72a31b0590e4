"""Curves through the points `metric@x` of a table's rows: ours, and the published ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bregbench.figures.axes import Keys, explanations, in_words, legend_below, legend_height
from bregbench.figures.base import Figure, Printed, check_panels
from bregbench.figures.looks import Look, looks_of
from bregbench.figures.plotting import figure_to
from bregbench.tables.cells import Cell, FilledRow
from bregbench.tables.spec import Layout
from bregbench.tables.verdicts import mean_and_deviation

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


@dataclass
class Points(Figure):
    """Curves through the points `metric@x` of the rows.

    Attributes:
        panels: how the labels of the rows in a panel begin; empty for one panel with all rows.
        x: name of the horizontal axis.
    """

    kind: ClassVar[str] = "points"
    panels: list[str] = field(default_factory=list)
    x: str = ""

    def check(self) -> None:
        """Refuse names that nothing stands behind."""
        super().check()
        check_panels(self, self.panels)

    def layout(self) -> Layout:
        """Points stand below each other, a grid a panel."""
        return Layout(curves=True, panels=tuple(self.panels), x=self.x)

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_points(rows, panels=self.panels, x=self.x, output=output)


def draw_points(rows: list[FilledRow], *, panels: list[str], x: str, output: Path) -> None:
    """Ours as lines, mean over seeds with a band of a deviation; published points as crosses.

    Published points that are never judged are grey.

    Args:
        rows: filled rows with columns `metric@x` in one unit.
        panels: how the labels of the rows in a panel begin; empty for one panel with all rows.
        x: name of the horizontal axis.
        output: image file.
    """
    groups = {panel: [row for row in rows if row.label.startswith(panel)] for panel in panels}
    groups = {panel: inside for panel, inside in groups.items() if inside} or {"": rows}
    shown = [(row, title) for title, inside in groups.items() for row in inside]
    labels = {row.label: row.label.removeprefix(f"{title}: ") for row, title in shown}
    looks = looks_of(dict.fromkeys(labels.values(), ""))
    extra = _explanations(rows)
    width = max(4.2 * len(groups), 6)
    height = 3.2 + legend_height([*looks, *extra], width)
    with figure_to(output, width=width, height=height) as figure:
        axes = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
        keys: Keys = {}
        for panel, (title, inside) in zip(axes, groups.items(), strict=True):
            for row in inside:
                keys[labels[row.label]] = _curve(panel, row, looks[labels[row.label]])
            panel.set_title(title)
            panel.set_xlabel(x)
        axes[0].set_ylabel(_y_label(rows))
        legend_below(figure, keys | extra)


def _curve(axes: Axes, row: FilledRow, look: Look) -> Artist:
    cells = {float(cell.column.rpartition("@")[2]): cell for cell in row.cells.values()}
    ours = {at: cell for at, cell in sorted(cells.items()) if cell.values}
    statistics = [mean_and_deviation(cell.values) for cell in ours.values()]
    means = np.array([mean for mean, _ in statistics])
    style, color = look.style, look.color
    line = axes.plot(list(ours), means, marker=look.marker, ms=3, ls=style, color=color)[0]
    if statistics and all(deviation is not None for _, deviation in statistics):
        band = np.array([deviation for _, deviation in statistics], dtype=float)
        axes.fill_between(list(ours), means - band, means + band, color=color, alpha=0.2)
    for at, cell in cells.items():
        if cell.published.given:
            shade = "0.6" if cell.published.excluded else color
            axes.plot(at, cell.published.value, "x", color=shade, markersize=5)
    return line


def _explanations(rows: list[FilledRow]) -> Keys:
    cells = [cell for row in rows for cell in row.cells.values()]
    given = [cell.published.excluded for cell in cells if cell.published.given]
    bands = any(len(cell.values) > 1 for cell in cells)
    return explanations(crosses=bool(given), grey=any(given), bands=bands)


def _y_label(rows: list[FilledRow]) -> str:
    """Metric and unit of the first cell, which the others share."""
    cell: Cell = next(cell for row in rows for cell in row.cells.values())
    words = in_words(cell.column.partition("@")[0])[0].removesuffix(" [%]")
    return words if cell.published.unit == "1" else f"{words} [{cell.published.unit}]"
