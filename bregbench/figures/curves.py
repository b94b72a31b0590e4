"""Curves of metrics over epochs or over each other, with bands over seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bregbench.figures.axes import (
    Keys,
    explanations,
    in_words,
    legend_below,
    legend_height,
    show_bulk,
)
from bregbench.figures.base import Figure, Marks, Printed, first_runs, marks_of
from bregbench.figures.labels import distinguish, facets
from bregbench.figures.looks import Look, looks_of
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
            [read_run(run) for row in rows for run in row.runs.values()],
            x="epoch",
            ys=self.panels,
            output=output,
            labels={run.name: label for label, run in first_runs(rows).items()},
            log=self.log,
            marks=marks_of(published),
            ends=self.ends,
            names={metric: c.header for metric, c in self.columns.items() if c.header},
        )


#: inches of a panel
_WIDTH, _HEIGHT = 3.6, 2.7


@dataclass(frozen=True)
class Drawing:
    """What is drawn, however many panels there are.

    Attributes:
        x: metric on the horizontal axis.
        labels: legend entry by run name.
        looks: how the curve of each legend entry looks.
        marks: published points by legend entry and metric.
        ends: legend entries whose curves are horizontal lines at the last values.
        variant: which network of the final evaluation is meant.
        selection: `last` or `best`, for metrics of the final evaluation.
    """

    x: str
    labels: dict[str, str]
    looks: dict[str, Look]
    marks: Marks
    ends: list[str]
    variant: str
    selection: str


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
    by: str = "",
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
        names: what vertical axes are called, by metric; by default the metric in words.
        by: a config key with a row of panels for each of its values: `dataset`, `model`, `method`,
            or a key such as `method.lam`; empty for one row of panels.

    Raises:
        BenchError: no run has recorded both metrics, or no run has the key.
    """
    labels = labels or distinguish(runs, apart=by)
    log, names = log or [], names or {}
    kinds = {labels[run.name]: str(run.config["method"]["kind"]) for run in runs}
    drawing = Drawing(x, labels, looks_of(kinds), marks or {}, ends or [], variant, selection)
    rows = facets(runs, by)
    # Refused before anything is drawn, so that no half-made file appears.
    per_epoch = [_is_per_epoch(runs, x, y, variant, selection) for y in ys]
    columns = len(ys) if by or len(ys) <= 3 else 2
    lines = len(rows) if by else -(-len(ys) // columns)
    width = max(_WIDTH * columns, 6)
    entries = list(dict.fromkeys(labels.values()))
    seeds = [sum(run.name == name for run in runs) for name in labels]
    extra = explanations(crosses=bool(marks), bands=any(per_epoch) and max(seeds) > 1)
    height = _HEIGHT * lines + legend_height([*entries, *extra], width)
    with figure_to(output, width=width, height=height) as figure:
        grid = figure.subplots(lines, columns, squeeze=False)
        places = [(title, inside, y) for title, inside in rows.items() for y in range(len(ys))]
        for axes, (title, inside, y) in zip(grid.flat, places, strict=False):
            _panel(axes, inside, ys[y], drawing, per_epoch=per_epoch[y], name=names.get(ys[y], ""))
            axes.set_title(title)
            logarithmic(axes, x=x in log, y=ys[y] in log)
            show_bulk(axes)
        for axes in grid.flat[len(places) :]:
            axes.remove()
        found: Keys = {}
        for axes in grid.flat[: len(places)]:
            handles, texts = axes.get_legend_handles_labels()
            found |= dict(zip(texts, handles, strict=True))
        legend_below(figure, {e: found[e] for e in entries if e in found} | extra)


def _panel(
    axes: Axes, runs: list[SavedRun], y: str, drawing: Drawing, *, per_epoch: bool, name: str
) -> None:
    from matplotlib.ticker import MaxNLocator

    words, factor = in_words(y)
    for config, label in drawing.labels.items():
        seeds = [run for run in runs if run.name == config]
        look = drawing.looks[label]
        if not seeds:
            continue
        if per_epoch and label in drawing.ends:
            _level(axes, seeds, y, label, look)
        elif per_epoch:
            _curve(axes, seeds, drawing.x, y, label, look)
        else:
            _points(axes, seeds, y, label, drawing)
        for at, value in drawing.marks.get((label, y), []):
            axes.plot(at, factor * value, "x", color=look.color, markersize=4)
    axes.set_xlabel(in_words(drawing.x)[0])
    unit = " [%]" if factor != 1 else ""
    axes.set_ylabel(name.removesuffix(unit) + unit if name else words)
    if drawing.x == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


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


def _curve(axes: Axes, seeds: list[SavedRun], x: str, y: str, label: str, look: Look) -> None:
    rows = [[row for row in run.rows if x in row and y in row] for run in seeds]
    # Unfinished seeds are cut to what all have, so that the mean is one over the same runs throughout.
    length = min(len(r) for r in rows)
    if length == 0:
        return
    xs = in_words(x)[1] * np.array([[row[x] for row in r[:length]] for r in rows]).mean(0)
    values = in_words(y)[1] * np.array([[row[y] for row in r[:length]] for r in rows])
    marker = "." if length == 1 else None
    mean = values.mean(0)
    axes.plot(xs, mean, label=label, color=look.color, linestyle=look.style, marker=marker)
    if len(seeds) > 1:
        deviation = values.std(0, ddof=1)
        axes.fill_between(xs, mean - deviation, mean + deviation, color=look.color, alpha=0.2)


def _level(axes: Axes, seeds: list[SavedRun], y: str, label: str, look: Look) -> None:
    last = [run.rows[-1][y] for run in seeds if run.rows and y in run.rows[-1]]
    if last:
        level = in_words(y)[1] * float(np.mean(last))
        axes.axhline(level, label=label, color=look.color, linestyle="--")


def _points(axes: Axes, seeds: list[SavedRun], y: str, label: str, drawing: Drawing) -> None:
    finals = [_final(run, drawing.variant, drawing.selection) for run in seeds]
    factors = in_words(drawing.x)[1], in_words(y)[1]
    found = [
        (factors[0] * final[drawing.x], factors[1] * final[y])
        for final in finals
        if drawing.x in final and y in final
    ]
    look = drawing.looks[label]
    if found:
        xs, heights = zip(*found, strict=True)
        axes.scatter(xs, heights, label=label, color=look.color, marker=look.marker, s=20)
