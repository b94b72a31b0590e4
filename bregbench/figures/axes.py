"""What all axes share: metrics in words, limits that show the bulk, legends that are never cut."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: entries of a legend: what is drawn, by label
Keys = dict[str, "Artist"]

#: what a band or a bar around a mean is
SPREAD = "one standard deviation of the seeds"

#: inches of a line of the legend, and of one of its letters
_LINE, _LETTER = 0.17, 0.075
#: letters after which a legend's entry goes on in the next line
_LONGEST = 60

_WORDS = {
    "train/accuracy": "training accuracy",
    "density/total": "density of the weights",
    "density/conv": "density of the convolutions",
    "density/linear": "density of the linear layers",
    "l1_norm": "l1 norm of the weights",
    "train/loss": "training loss",
    "lipschitz/upper": "Lipschitz constant, upper bound",
    "lipschitz/lower": "Lipschitz constant, lower bound",
}


def in_words(metric: str) -> tuple[str, float]:
    """What an axis of a metric is called, and the factor from the metric's values to the axis.

    Accuracies and densities are recorded as fractions and shown in percent.
    """
    name = _WORDS.get(metric, metric.replace("/", " ").replace("_", " "))
    if "accuracy" in metric or "density" in metric:
        return f"{name} [%]", 100.0
    return name, 1.0


def show_bulk(axes: Axes) -> None:
    """Limit a linear vertical axis to the bulk of its curves, where a few values would squeeze them.

    The limits leave out values outside the 4th to 98th percentile if the others then get three times
    the room; where a curve ends is always shown. A triangle at the edge marks each value outside, and
    a note says how far the values go.
    """
    if axes.get_yscale() != "linear":
        return
    curves = [np.asarray(line.get_xydata(), dtype=float) for line in axes.lines]
    values = np.concatenate([curve[:, 1] for curve in curves]) if curves else np.zeros(0)
    values = values[np.isfinite(values)]
    if len(values) < 20:
        return
    low, high = np.quantile(values, [0.04, 0.98])
    ends = [curve[-1, 1] for curve in curves if len(curve) > 1 and np.isfinite(curve[-1, 1])]
    low, high = min([low, *ends]), max([high, *ends])
    room = 0.15 * (high - low)
    least, most = float(values.min()), float(values.max())
    if room == 0 or most - least < 3 * (high - low):
        return
    low, high = max(low - room, least - room), min(high + room, most + room)
    axes.set_ylim(low, high)
    for line, curve in zip(list(axes.lines), curves, strict=True):
        _mark_outside(axes, curve[curve[:, 1] < low], low, "v", str(line.get_color()))
        _mark_outside(axes, curve[curve[:, 1] > high], high, "^", str(line.get_color()))
    if least < low:
        _note(axes, f"\u25bc down to {least:.3g}", height=0.02, align="bottom")
    if most > high:
        _note(axes, f"\u25b2 up to {most:.3g}", height=0.98, align="top")


def show_bulk_of_points(axes: Axes, heights: Sequence[float]) -> None:
    """Limit a vertical axis to the upper points if the lowest tenth would squeeze them; say so inside."""
    values = np.sort(np.asarray(heights, dtype=float))
    low, high = float(np.quantile(values, 0.15)), float(values[-1])
    if len(values) < 8 or values[0] > low - 1.5 * (high - low):
        return
    room = 0.15 * (high - low)
    axes.set_ylim(low - room, high + room)
    below = int((values < low - room).sum())
    _note(axes, f"\u25bc {below} below, down to {values[0]:.3g}", height=0.02, align="bottom")


def label_beside(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Names of points in a column to the right of a panel, joined to the points by thin lines.

    Args:
        axes: with final limits.
        points: ``(x, y, name)``.
    """
    low, high = axes.get_ylim()
    shown = sorted((point for point in points if point[1] >= low), key=lambda point: point[1])
    heights = [(y - low) / (high - low) for _, y, _ in shown]
    for (x, y, name), height in zip(shown, spread_out(heights, 0.055), strict=True):
        axes.annotate(
            name,
            (x, y),
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize="x-small",
            arrowprops={"arrowstyle": "-", "color": "0.8", "lw": 0.6, "shrinkA": 0, "shrinkB": 2},
            annotation_clip=False,
        )


def spread_out(heights: Sequence[float], gap: float) -> list[float]:
    """Rising heights moved apart to at least a gap, as little as one pass each way allows."""
    placed = list(heights)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    if placed and placed[-1] > 1:
        placed[-1] = 1.0
        for i in range(len(placed) - 2, -1, -1):
            placed[i] = min(placed[i], placed[i + 1] - gap)
    return placed


def _mark_outside(axes: Axes, points: np.ndarray, edge: float, marker: str, color: str) -> None:
    """A triangle at the edge of a panel for each point ``(x, y)`` of a curve outside the limits."""
    if len(points):
        places = np.full(len(points), edge)
        marks = axes.plot(points[:, 0], places, marker, color=color, ms=3, clip_on=False, zorder=3)
        marks[0].set_in_layout(False)


def _note(axes: Axes, text: str, *, height: float, align: str) -> None:
    """A small grey note at the right edge of a panel."""
    note = axes.text(
        0.99,
        height,
        text,
        transform=axes.transAxes,
        ha="right",
        va=align,
        fontsize="x-small",
        color="0.35",
    )
    note.set_in_layout(False)


def explanations(*, crosses: bool = False, grey: bool = False, bands: bool = False) -> Keys:
    """Entries of a legend that say what marks of no curve are.

    Args:
        crosses: whether published values are drawn as crosses.
        grey: whether some of the crosses are grey, because they are never judged.
        bands: whether bands show the spread of the seeds.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    keys: Keys = {}
    if crosses:
        keys["published"] = Line2D([], [], marker="x", ls="", color="0.2", ms=5)
    if grey:
        keys["published, never judged"] = Line2D([], [], marker="x", ls="", color="0.6", ms=5)
    if bands:
        keys[SPREAD] = Patch(color="0.5", alpha=0.3, lw=0)
    return keys


def legend_height(labels: Collection[str], width: float) -> float:
    """Inches that the legend below a figure takes.

    Args:
        labels: its entries.
        width: of the figure, in inches.
    """
    lines = max(wrapped(label).count("\n") + 1 for label in labels)
    return 0.15 + _LINE * lines * math.ceil(len(labels) / _columns(labels, width))


def legend_below(figure: Figure, keys: Keys) -> None:
    """A legend outside the panels, with as many columns as whole entries fit."""
    columns = _columns(list(keys), figure.get_figwidth())
    entries = [wrapped(label) for label in keys]
    handles = list(keys.values())
    figure.legend(handles, entries, loc="outside lower center", ncols=columns, fontsize="small")


def wrapped(label: str) -> str:
    """A legend's entry in lines of a readable length."""
    return "\n".join(textwrap.wrap(label, _LONGEST)) or label


def _columns(labels: Collection[str], width: float) -> int:
    longest = max(len(line) for label in labels for line in wrapped(label).split("\n"))
    return max(1, min(len(labels), int(width / (_LETTER * (longest + 7)))))
