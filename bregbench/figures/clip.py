"""Figures of the CLIP paper: graphs of networks of one variable, and pairs of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bregbench.figures.axes import Keys, explanations, legend_below, legend_height
from bregbench.figures.base import Figure, Marks, Printed, first_runs, marks_of
from bregbench.figures.looks import looks_of
from bregbench.figures.plotting import figure_to
from bregbench.storage.directory import RunDirectory
from bregbench.storage.traces import traces_of
from bregbench.tables.cells import FilledRow

#: entry of the legend
TRAINING = "training points"


@dataclass
class Graphs(Figure):
    """Graphs of networks of one variable, a curve a row."""

    kind: ClassVar[str] = "graphs"

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_graphs(first_runs(rows), marks=marks_of(published), output=output)


@dataclass
class Pairs(Figure):
    """Pairs of images before and after their ascent, a line a row."""

    kind: ClassVar[str] = "pairs"

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_pairs(first_runs(rows), output=output)


def draw_graphs(
    runs: dict[str, RunDirectory],
    *,
    marks: Marks,
    output: Path,
) -> None:
    """Graphs of networks of one variable, the training points, and published values as crosses.

    Args:
        runs: by label; records with the trace of the evaluator `curve`.
        marks: published points by label and `curve`.
        output: image file.

    Raises:
        BenchError: the trace of one was not kept.
    """
    traces = {label: traces_of(run, "curve") for label, run in runs.items()}
    looks = looks_of(dict.fromkeys(traces, ""))
    extra = explanations(crosses=bool(marks))
    width = 6.4
    height = 3.4 + legend_height([*traces, *extra, TRAINING], width)
    with figure_to(output, width=width, height=height) as figure:
        axes = figure.add_subplot()
        points = next(iter(traces.values()))
        dots = axes.plot(
            points["inputs"].numpy(), points["targets"].numpy(), ".", color="0.6", ms=4
        )
        keys: Keys = {}
        for label, trace in traces.items():
            look = looks[label]
            keys[label] = axes.plot(
                trace["x"].numpy(), trace["prediction"].numpy(), color=look.color, ls=look.style
            )[0]
            for x, value in marks.get((label, "curve"), []):
                axes.plot(x, value, "x", color=look.color, markersize=5)
        axes.set(xlabel="x", ylabel="output of the network")
        legend_below(figure, keys | extra | {TRAINING: dots[0]})


def draw_pairs(runs: dict[str, RunDirectory], *, output: Path) -> None:
    """The steepest pair of each network before and after its ascent, with the network's opinion.

    Args:
        runs: by label; records with the trace of the evaluator `worst_pairs`.
        output: image file.

    Raises:
        BenchError: the trace of one was not kept.
    """
    traces = {label: traces_of(run, "worst_pairs") for label, run in runs.items()}
    with figure_to(output, width=8.4, height=2.3 * len(traces) + 0.3) as figure:
        axes = figure.subplots(len(traces), 4, squeeze=False)
        for row, (label, trace) in enumerate(traces.items()):
            shares = trace["outputs"].softmax(-1).flatten(0, 1)
            for column, image in enumerate(trace["images"].flatten(0, 1)):
                panel = axes[row, column]
                panel.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=255)
                panel.set(xticks=[], yticks=[])
                share, name = shares[column].max(0)
                panel.set_xlabel(f"class {int(name)}: {100 * float(share):.0f} %", fontsize="small")
                panel.set_title("before" if column < 2 else "after", fontsize="small")
            axes[row, 0].set_ylabel(label, fontsize="small")
