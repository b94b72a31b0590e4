"""The panels of the frontier: accuracy over density with bands, and over seconds of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bregbench.figures.frontier_points import Point, best_of, front
from bregbench.figures.plotting import figure_to, logarithmic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: of the names of methods that have failed
_BELOW: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": 6, "color": "0.45"}


def spread(heights: Sequence[float], gap: float, top: float = math.inf) -> list[float]:
    """Heights of labels, in the order given: those of their points, moved where they would be too near.

    Args:
        heights: of the points.
        gap: least distance of two labels.
        top: of the highest label; those below it move down as far as that asks.
    """
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed = [0.0] * len(heights)
    last = -math.inf
    for index in order:
        last = placed[index] = max(heights[index], last + gap)
    last = top + gap
    for index in reversed(order):
        last = placed[index] = min(placed[index], last - gap)
    return placed


def floor_of(points: Sequence[Point]) -> float:
    """Accuracy below which methods have failed and would squeeze the others into a line."""
    means = sorted(point.mean for point in points)
    best, middle = means[-1], means[len(means) // 2]
    return best - max(4 * (best - middle), 1.0)


def draw_frontier(parts: dict[str, list[Point]], reference: str, output: Path) -> None:
    """Accuracy over density with bands, and over seconds of training at each density.

    Methods on a front and the reference are coloured, the others grey; all are named beside their points, and
    those that have failed in a corner of the panel of their density.

    Args:
        parts: points by density.
        reference: the row that is drawn thick.
        output: image file.
    """
    given = {part: points for part, points in parts.items() if points}
    floors = {part: floor_of(points) for part, points in given.items()}
    parts = {part: [p for p in points if p.mean >= floors[part]] for part, points in given.items()}
    marked = {reference}
    for points in parts.values():
        sparse = [point for point in points if point.density < 99]
        marked |= {best_of(points) or reference} | front(sparse, "seconds")
    colours = {row: f"C{number % 10}" for number, row in enumerate(sorted(marked))}
    most = max(len(points) for points in parts.values())
    with figure_to(output, width=6.0 + 4.2 * len(parts), height=max(4.5, 0.2 * most)) as figure:
        axes = figure.subplots(1, 1 + len(parts), squeeze=False)[0]
        _over_density(axes[0], parts, reference, colours)
        for panel, (part, points) in zip(axes[1:], parts.items(), strict=True):
            _over_seconds(panel, part, points, colours)
            _tell_failed(panel, [p for p in given[part] if p.mean < floors[part]])


def _over_density(
    panel: Axes, parts: dict[str, list[Point]], reference: str, colours: dict[str, str]
) -> None:
    every = [point for points in parts.values() for point in points]
    series: dict[str, list[Point]] = {}
    for point in sorted(every, key=lambda point: point.density):
        series.setdefault(point.row, []).append(point)
    sparse = {row: line for row, line in series.items() if line[0].density < 99}
    for row, line in sparse.items():
        at, colour = [point.density for point in line], colours.get(row, "0.75")
        low, high = zip(*(point.interval for point in line), strict=True)
        width = 2.2 if row == reference else 1.2 if row in colours else 0.8
        order = 3 if row in colours else 2
        panel.plot(at, [p.mean for p in line], "o-", color=colour, lw=width, ms=3, zorder=order)
        panel.fill_between(at, low, high, color=colour, alpha=0.15, lw=0, zorder=order - 1)
    for row in series.keys() - sparse.keys():
        panel.axhline(series[row][0].mean, color="0.4", lw=0.8, ls=":", label=f"{row}, dense")
    if series.keys() - sparse.keys():
        panel.legend(fontsize=6, loc="lower right")
    logarithmic(panel, x=True)
    ends = [line[-1] for line in sparse.values()]
    _name(panel, ends, [point.density for point in ends], colours)
    panel.set(xlabel="density [%]", ylabel="test accuracy [%]")


def _over_seconds(panel: Axes, part: str, points: list[Point], colours: dict[str, str]) -> None:
    for point in points:
        low, high = point.interval
        errors = [[max(0.0, point.mean - low)], [max(0.0, high - point.mean)]]
        colour = colours.get(point.row, "0.75")
        panel.errorbar(
            point.seconds, point.mean, errors, fmt="o", color=colour, ms=4, lw=1, capsize=2
        )
    _name(panel, points, [point.seconds for point in points], colours)
    panel.set(xlabel="seconds of training", title=part)


def _name(panel: Axes, points: list[Point], at: list[float], colours: dict[str, str]) -> None:
    """Name all points at the right margin, where names do not overlap, with a thin line to each."""
    low, high = panel.get_ylim()
    gap = (high - low) / max(len(points), 22)
    heights = spread([point.mean for point in points], gap, high)
    for point, x, height in zip(points, at, heights, strict=True):
        colour = colours.get(point.row, "0.45")
        panel.annotate(
            point.row,
            (x, point.mean),
            xytext=(1.03, height),
            textcoords=("axes fraction", "data"),
            fontsize=6,
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.3, "alpha": 0.6},
        )


def _tell_failed(panel: Axes, points: list[Point]) -> None:
    if points:
        names = "\n".join(f"{point.row}: {point.mean:.1f}" for point in points)
        panel.text(0.98, 0.02, f"far below\n{names}", **_BELOW, transform=panel.transAxes)
