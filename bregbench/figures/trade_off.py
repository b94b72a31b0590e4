"""One final metric over another, a point a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from omegaconf import MISSING

from bregbench.figures.base import Figure, Printed, check_panels
from bregbench.figures.plotting import figure_to, logarithmic
from bregbench.foundations.errors import BenchError
from bregbench.tables.cells import FilledRow, metric_of
from bregbench.tables.published import UNITS
from bregbench.tables.verdicts import mean_and_deviation


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
            return metric, 1.0
        name = known.header or metric
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
    with figure_to(output, width=max(5 * len(cells), 6), height=4.2) as figure:
        axes = figure.subplots(1, len(cells), squeeze=False)[0]
        for number, (panel, (title, inside, y)) in enumerate(zip(axes, cells, strict=True)):
            lines: dict[str, list[tuple[float, float, float]]] = {}
            for row in inside:
                series = row.label.removeprefix(f"{title}: ").partition("@")[0]
                lines.setdefault(series, []).append(_point(row, x, y, selection))
            for series, points in lines.items():
                at, height, spread = (
                    np.array(values) for values in zip(*sorted(points), strict=True)
                )
                at, height, spread = at * names[x][1], height * names[y][1], spread * names[y][1]
                line = panel.errorbar(at, height, spread, fmt="o-", capsize=2, label=series)
                line[0].set_markersize(4)
            logarithmic(panel, x=True)
            panel.set(title=title, xlabel=names[x][0])
            panel.legend(fontsize="small")
            if number == 0 or len(ys) > 1:
                panel.set_ylabel(names[y][0])


def _point(row: FilledRow, x: str, y: str, selection: str) -> tuple[float, float, float]:
    """Means over the seeds, and the deviation of y (0 for one seed)."""
    values: dict[str, list[float]] = {x: [], y: []}
    for run in row.runs.values():
        for metric, found in values.items():
            value = metric_of(run, metric, variant="trained", selection=selection)
            if value is None:
                raise BenchError(
                    f"{run.path} has not measured {metric}: add it with bregbench-evaluate "
                    f"run={run.path} evaluators=[NAME], a name in configs/evaluators"
                )
            found.append(value)
    mean, deviation = mean_and_deviation(values[y])
    return mean_and_deviation(values[x])[0], mean, deviation or 0.0
