"""Figures of the papers, drawn from records, with the published points as crosses."""

from __future__ import annotations

from pathlib import Path

from bregbench.figures.base import Drawing, Figure
from bregbench.figures.clip import draw_graphs, draw_pairs
from bregbench.figures.curves import draw
from bregbench.figures.dessilbi import (
    draw_keep_ratios,
    draw_norms,
    draw_patterns,
    draw_solution_path,
    draw_widths,
)
from bregbench.figures.fno import draw_nyquist_splitting, draw_zero_padding
from bregbench.figures.lifted import draw_activations, draw_codes, draw_losses
from bregbench.figures.pictures import draw_active_units, draw_feature_maps, draw_reconstructions
from bregbench.figures.points import draw_points
from bregbench.figures.trade_off import draw_trade_off
from bregbench.foundations.console import say
from bregbench.foundations.errors import BenchError
from bregbench.storage.find import read_run
from bregbench.tables.cells import FilledRow
from bregbench.tables.published import UNITS, Published

#: (label of a row, metric) -> (epoch, value in the metric's own unit)
Marks = dict[tuple[str, str], list[tuple[float, float]]]


def draw_figure(
    figure: Figure,
    rows: list[FilledRow],
    published: dict[tuple[str, str], Published],
    folder: Path,
) -> list[Path]:
    """Draw a figure as png and pdf; no files where it has rows and no run of them has finished.

    Args:
        figure: what to draw.
        rows: the filled rows, which know their runs.
        published: the points read off the published figure.
        folder: where to put the files.
    """
    rows = [row for row in rows if row.runs]
    paths = [folder / f"{figure.name}.{ending}" for ending in ("png", "pdf")]
    if figure.drawing.from_runs and not rows:
        return []
    try:
        for path in paths:
            _draw(figure, rows, _marks(published), path)
    except BenchError as error:
        # The numbers are worth having without the pictures, whose files need not be everywhere.
        say(f"note: {figure.name} is not drawn: {error}")
        return []
    return paths


def _draw(figure: Figure, rows: list[FilledRow], marks: Marks, path: Path) -> None:
    first = {row.label: next(iter(row.runs.values())) for row in rows}
    match figure.drawing:
        case Drawing.curves:
            draw(
                [read_run(run.path) for row in rows for run in row.runs.values()],
                x="epoch",
                ys=figure.panels,
                output=path,
                labels={run.name: label for label, run in first.items()},
                log=figure.log,
                marks=marks,
                ends=figure.ends,
                names={m: c.header for m, c in figure.columns.items() if c.header},
            )
        case Drawing.feature_maps:
            (run,) = first.values()
            draw_feature_maps(run, layer=figure.layer, epochs=figure.epochs, output=path)
        case Drawing.active_units:
            runs = {row.label: list(row.runs.values()) for row in rows}
            draw_active_units(runs, epochs=figure.epochs, output=path, marks=marks)
        case Drawing.reconstructions:
            draw_reconstructions(first, splits=figure.splits, images=figure.images, output=path)
        case Drawing.graphs:
            draw_graphs(first, marks=marks, output=path)
        case Drawing.pairs:
            draw_pairs(first, output=path)
        case Drawing.points:
            draw_points(rows, panels=figure.panels, x=figure.x, output=path)
        case Drawing.zero_padding:
            draw_zero_padding(output=path)
        case Drawing.nyquist:
            draw_nyquist_splitting(output=path)
        case Drawing.activations:
            draw_activations(output=path)
        case Drawing.bregman_losses:
            draw_losses(output=path)
        case Drawing.codes:
            draw_codes(first, output=path)
        case Drawing.methods:
            raise AssertionError("rows of other tables: see bregbench.figures.all_methods")
        case Drawing.solution_path:
            draw_solution_path(next(iter(first.values())), layer=figure.layer, output=path)
        case Drawing.widths:
            draw_widths(first, selection=figure.selection, output=path)
        case Drawing.keep_ratios:
            draw_keep_ratios(first, selection=figure.selection, output=path)
        case Drawing.norms:
            draw_norms(first, output=path)
        case Drawing.patterns:
            draw_patterns(first, layer=figure.layer, epochs=figure.epochs, output=path)
        case Drawing.trade_off:
            ys = figure.y or [next(iter(figure.columns))]
            draw_trade_off(
                rows,
                panels=figure.panels,
                x=figure.x,
                ys=ys,
                names={metric: _axis(figure, metric) for metric in (figure.x, *ys)},
                selection=figure.selection,
                output=path,
            )


def _axis(figure: Figure, metric: str) -> tuple[str, float]:
    """What a metric is called and the factor of its unit, from its column if it has one."""
    known = figure.column(metric)
    if known is None:
        return metric, 1.0
    name = known.header or metric
    return (name if known.unit == "1" else f"{name} [{known.unit}]"), UNITS[known.unit]


def _marks(published: dict[tuple[str, str], Published]) -> Marks:
    marks: Marks = {}
    for (label, column), point in published.items():
        metric, at, epoch = column.partition("@")
        family, _, name = metric.partition("/")
        value = point.value / UNITS[point.unit]
        if family == "curve" and not at:  # curve/<x> is the value at x
            marks.setdefault((label, family), []).append((float(name), value))
        if at:
            marks.setdefault((label, metric), []).append((float(epoch), value))
    return marks
