"""One final metric over another, a point a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from omegaconf import MISSING

from bregbench.figures.axes import Keys, explanations, in_words, legend_below, legend_height
from bregbench.figures.base import Figure, Printed, check_panels
from bregbench.figures.looks import Look, looks_of
from bregbench.figures.plotting import figure_to, logarithmic
from bregbench.foundations.errors import BenchError
from bregbench.tables.cells import FilledRow, metric_of
from bregbench.tables.published import UNITS
from bregbench.tables.verdicts import mean_and_deviation

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


@dataclass
class TradeOff(Figure):
    """Final metrics over another one; rows `label@point` make a line.

    Attributes:
        panels: how the labels of the rows in a panel begin, before a colon; empty for one panel.
        x: the metric on the horizontal axis.
        y: the metrics on the vertical axis, a panel each; empty for the first column.
    """

    kind: ClassVar[str] = "trade_off"
    panels: list[str] = field(default_factory=list)
    x: str = MISSING
    y: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Refuse names that nothing stands behind."""
        super().check()
        check_panels(self, self.panels)

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        ys = self.y or [next(iter(self.columns))]
        draw_trade_off(
            rows,
            panels=self.panels,
            x=self.x,
            ys=ys,
            names={metric: self._axis(metric) for metric in (self.x, *ys)},
            selection=self.selection,
            output=output,
        )

    def _axis(self, metric: str) -> tuple[str, float]:
        """What a metric is called and the factor of its unit, from its column if it has one."""
        known = self.column(metric)
        if known is None:
            return in_words(metric)
        name = known.header or in_words(metric)[0].removesuffix(" [%]")
        return (name if known.unit == "1" else f"{name} [{known.unit}]"), UNITS[known.unit]


def draw_trade_off(
    rows: list[FilledRow],
    *,
    panels: list[str],
    x: str,
    ys: list[str],
    names: dict[str, tuple[str, float]],
    selection: str,
    output: Path,
) -> None:
    """Final metrics over another; rows `label@point` make a line, mean over seeds.

    Args:
        rows: of which each is a run of its own.
        panels: how the labels of a panel begin, before a colon; empty for one panel with all.
        x: the metric on the horizontal axis, logarithmic.
        ys: the metrics on the vertical axis, a panel each for every panel of rows.
        names: of all these metrics: what their axis is called, and the factor of its unit.
        selection: `last` or `best`.
        output: image file.

    Raises:
        BenchError: a run has not measured one of the metrics.
    """
    groups = {panel: [r for r in rows if r.label.startswith(f"{panel}:")] for panel in panels}
    groups = {panel: inside for panel, inside in groups.items() if inside} or {"": rows}
    cells = [(title, inside, y) for title, inside in groups.items() for y in ys]
    series = {_series(row, title): "" for title, inside in groups.items() for row in inside}
    looks = looks_of(series)
    width = max(3.8 * len(cells), 6)
    extra = explanations(bands=any(len(row.runs) > 1 for row in rows))
    height = 3.2 + legend_height([*looks, *extra], width)
    with figure_to(output, width=width, height=height) as figure:
        axes = figure.subplots(1, len(cells), squeeze=False)[0]
        keys: Keys = {}
        for panel, (title, inside, y) in zip(axes, cells, strict=True):
            lines: dict[str, list[tuple[float, float, float]]] = {}
            for row in inside:
                lines.setdefault(_series(row, title), []).append(_point(row, x, y, selection))
            for name, points in lines.items():
                scaled = np.array(sorted(points)) * [names[x][1], names[y][1], names[y][1]]
                keys[name] = _line(panel, scaled, looks[name])
            logarithmic(panel, x=True)
            panel.set(title=title, xlabel=names[x][0], ylabel=names[y][0])
        legend_below(figure, keys | extra)


def _series(row: FilledRow, title: str) -> str:
    """The line that a row `panel: line@point` belongs to."""
    return row.label.removeprefix(f"{title}: ").partition("@")[0]


def _line(axes: Axes, points: np.ndarray, look: Look) -> Artist:
    """A line through points ``(places, heights, deviations)``; bars only where there is a deviation."""
    at, height, spread = points.T
    if spread.any():
        axes.errorbar(at, height, spread, fmt="none", ecolor=look.color, capsize=2)
    return axes.plot(at, height, marker=look.marker, ms=4, ls=look.style, color=look.color)[0]


def _point(row: FilledRow, x: str, y: str, selection: str) -> tuple[float, float, float]:
    """Means over the seeds, and the deviation of y (0 for one seed)."""
    values: dict[str, list[float]] = {x: [], y: []}
    for run in row.runs.values():
        for metric, found in values.items():
            value = metric_of(run, metric, variant="trained", selection=selection)
            if value is None:
                raise BenchError(
                    f"{run.path} has not measured {metric}: add it with bregbench evaluate "
                    f"run={run.path} evaluators=[NAME], a name in configs/evaluators"
                )
            found.append(value)
    mean, deviation = mean_and_deviation(values[y])
    return mean_and_deviation(values[x])[0], mean, deviation or 0.0
