"""Curves of metrics over epochs or over each other, with bands over seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bregbench.figures.base import Figure, Marks, Printed, first_runs, marks_of
from bregbench.figures.labels import distinguish
from bregbench.figures.plotting import figure_to, logarithmic
from bregbench.foundations.errors import BenchError
from bregbench.storage.find import SavedRun, read_run
from bregbench.tables.cells import FilledRow
from bregbench.tables.spec import Layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass
class Curves(Figure):
    """Metrics of the rows over epochs, with bands over seeds and published points as crosses.

    Attributes:
        panels: the metrics, a panel each.
        log: metrics drawn on a logarithmic axis.
        ends: rows drawn as horizontal lines at their last values.
    """

    kind: ClassVar[str] = "curves"
    panels: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def layout(self) -> Layout:
        """Headings of metrics hold for their points `metric@epoch`, too."""
        return Layout(points=True)

    def check(self) -> None:
        """Refuse names that nothing stands behind."""
        super().check()
        for row in self.ends:
            self.require_name(row, self.rows, "ends")
        for metric in self.log:
            self.require_name(metric, self.panels, "log")

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw(
            [read_run(run.path) for row in rows for run in row.runs.values()],
            x="epoch",
            ys=self.panels,
            output=output,
            labels={run.name: label for label, run in first_runs(rows).items()},
            log=self.log,
            marks=marks_of(published),
            ends=self.ends,
            names={m: c.header for m, c in self.columns.items() if c.header},
        )


def draw(
    runs: list[SavedRun],
    *,
    x: str,
    ys: list[str],
    output: Path,
    variant: str = "trained",
    selection: str = "last",
    labels: dict[str, str] | None = None,
    log: list[str] | None = None,
    marks: Marks | None = None,
    ends: list[str] | None = None,
    names: dict[str, str] | None = None,
) -> None:
    """Draw metrics against another one, a panel for each of `ys`.

    Metrics of epochs give curves: the mean over the seeds of a config, with a band of one standard
    deviation. Where one of the two is measured at the end only (such as `test/accuracy`), every run
    gives a point.

    Args:
        runs: what to draw; the seeds of one config share a colour.
        x: metric on the horizontal axis.
        ys: metrics on the vertical axes.
        output: image file.
        variant: which network of the final evaluation is meant.
        selection: `last` or `best`, for metrics of the final evaluation.
        labels: legend entry by run name; by default method and differing values.
        log: metrics drawn on a logarithmic axis.
        marks: published points to be drawn as crosses, by legend entry and metric.
        ends: legend entries whose curves are not drawn, only a horizontal line at their last value.
        names: what vertical axes are called, by metric; by default the metric.

    Raises:
        BenchError: no run has recorded both metrics.
    """
    labels = labels or distinguish(runs)
    log, marks, ends, names = log or [], marks or {}, ends or [], names or {}
    from matplotlib.ticker import MaxNLocator

    # Refused before anything is drawn, so that no half-made file appears.
    per_epoch = [_is_per_epoch(runs, x, y, variant, selection) for y in ys]
    # The legend below needs room for its entries.
    height = 2.7 + 0.1 * len(labels)
    with figure_to(output, width=max(4.2 * len(ys), 6), height=height) as figure:
        for column, y in enumerate(ys):
            axes = figure.add_subplot(1, len(ys), column + 1)
            for index, (name, label) in enumerate(labels.items()):
                seeds = [run for run in runs if run.name == name]
                if per_epoch[column] and label in ends:
                    _level(axes, seeds, y, label, f"C{index}")
                elif per_epoch[column]:
                    _curve(axes, seeds, x, y, label, f"C{index}")
                else:
                    _points(axes, seeds, x, y, label, f"C{index}", variant, selection)
                for at, value in marks.get((label, y), []):
                    axes.plot(at, value, "x", color=f"C{index}", markersize=4)
            axes.set_xlabel(x)
            if x == "epoch":
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylabel(names.get(y, y))
            logarithmic(axes, x=x in log, y=y in log)
        handles, entries = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, entries, loc="outside lower center", ncols=2, fontsize="small")


def _is_per_epoch(runs: list[SavedRun], x: str, y: str, variant: str, selection: str) -> bool:
    if any(run.rows and x in run.rows[-1] and y in run.rows[-1] for run in runs):
        return True
    if any({x, y} <= set(_final(run, variant, selection)) for run in runs):
        return False
    known = {key for run in runs for row in run.rows[-1:] for key in row}
    known |= {key for run in runs for key in _final(run, variant, selection)}
    missing = " and ".join(name for name in (x, y) if name not in known)
    if missing:
        raise BenchError(f"{missing} was not measured: choose from {', '.join(sorted(known))}")
    raise BenchError(f"{x} and {y} were never measured together: one is per epoch, the other final")


def _final(run: SavedRun, variant: str, selection: str) -> dict[str, float]:
    """Metrics of the final evaluation and those of the whole run; empty while it is unfinished."""
    if run.summary is None:
        return {}
    whole = {"seconds": run.summary["seconds"], "parameters": run.summary["parameters"]}
    return whole | run.summary["final"].get(variant, {}).get(selection, {})


def _curve(axes: Axes, seeds: list[SavedRun], x: str, y: str, label: str, color: str) -> None:
    rows = [[row for row in run.rows if x in row and y in row] for run in seeds]
    # Unfinished seeds are cut to what all have, so that the mean is one over the same runs throughout.
    length = min(len(r) for r in rows)
    if length == 0:
        return
    xs = np.array([[row[x] for row in r[:length]] for r in rows]).mean(0)
    values = np.array([[row[y] for row in r[:length]] for r in rows])
    axes.plot(xs, values.mean(0), label=label, color=color, marker="." if length == 1 else None)
    if len(seeds) > 1:
        mean, deviation = values.mean(0), values.std(0, ddof=1)
        axes.fill_between(xs, mean - deviation, mean + deviation, color=color, alpha=0.2)


def _level(axes: Axes, seeds: list[SavedRun], y: str, label: str, color: str) -> None:
    last = [run.rows[-1][y] for run in seeds if run.rows and y in run.rows[-1]]
    if last:
        axes.axhline(float(np.mean(last)), label=label, color=color, linestyle="--")


def _points(
    axes: Axes,
    seeds: list[SavedRun],
    x: str,
    y: str,
    label: str,
    color: str,
    variant: str,
    selection: str,
) -> None:
    finals = [_final(run, variant, selection) for run in seeds]
    found = [(final[x], final[y]) for final in finals if x in final and y in final]
    if found:
        axes.scatter(*zip(*found, strict=True), label=label, color=color, s=18)
