"""Figures of the papers, drawn from records, with the published points as crosses."""

from __future__ import annotations

from pathlib import Path

from bregbench.plotting import draw
from bregbench.saved_runs import read_run
from bregbench.tables.cells import FilledRow
from bregbench.tables.published import UNITS, Published
from bregbench.tables.spec import Figure


def draw_figure(
    figure: Figure,
    rows: list[FilledRow],
    published: dict[tuple[str, str], Published],
    folder: Path,
) -> list[Path]:
    """Draw the curves of a figure as png and pdf; no files where no run has finished.

    Args:
        figure: panels and curves.
        rows: the filled rows, which know their runs.
        published: the points read off the published figure.
        folder: where to put the files.
    """
    runs = [read_run(run.path) for row in rows for run in row.runs.values()]
    labels = {
        directory.name: row.label for row in rows for directory in list(row.runs.values())[:1]
    }
    if not runs:
        return []
    marks: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for (label, column), point in published.items():
        metric, _, epoch = column.partition("@")
        marks.setdefault((label, metric), []).append(
            (float(epoch), point.value / UNITS[point.unit])
        )
    paths = [folder / f"{figure.name}.{ending}" for ending in ("png", "pdf")]
    for path in paths:
        draw(
            runs,
            x="epoch",
            ys=figure.panels,
            output=path,
            labels=labels,
            log=figure.log,
            marks=marks,
        )
    return paths
