"""Figures of the DessiLBI paper: solution path, widths, keep ratios and norms of filters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from omegaconf import MISSING
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file

from bregbench.figures.axes import Keys, legend_below
from bregbench.figures.base import Figure, Printed, first_runs
from bregbench.figures.plotting import figure_to
from bregbench.foundations.errors import BenchError
from bregbench.measures.structure import structure_of
from bregbench.runs.load import read_config
from bregbench.storage.directory import RunDirectory
from bregbench.storage.weights import TRAIN_ANEW
from bregbench.tables.cells import FilledRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass
class SolutionPath(Figure):
    """Norms of the filters of a layer over epochs, of the first row.

    Attributes:
        layer: a convolution, by its name in the network.
    """

    kind: ClassVar[str] = "solution_path"
    layer: str = MISSING

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        run = next(iter(first_runs(rows).values()))
        draw_solution_path(run, layer=self.layer, output=output)


@dataclass
class Widths(Figure):
    """Widths of all layers before and after pruning, a panel a row."""

    kind: ClassVar[str] = "widths"

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_widths(first_runs(rows), selection=self.selection, output=output)


@dataclass
class KeepRatios(Figure):
    """Share of the weights kept in every layer, a bar a row."""

    kind: ClassVar[str] = "keep_ratios"

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_keep_ratios(first_runs(rows), selection=self.selection, output=output)


@dataclass
class Norms(Figure):
    """Final norms of the filters of all layers, a column a row."""

    kind: ClassVar[str] = "norms"

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_norms(first_runs(rows), output=output)


def draw_solution_path(run: RunDirectory, *, layer: str, output: Path) -> None:
    """Norms of W, V and Gamma of each filter, a panel each; colours say when it was selected.

    Early filters are dark, late ones light, those never selected grey.

    Args:
        run: a record of a run with `method.trace=<layer>`.
        layer: its name, for the title.
        output: image file.

    Raises:
        BenchError: the run kept no such traces.
    """
    kept = load_arrays(run.traces) if run.traces.is_file() else {}
    titles = {"dessilbi/weights": "W", "dessilbi/duals": "V", "dessilbi/gammas": "Gamma"}
    if not set(titles) <= set(kept):
        raise BenchError(
            f"{run.path} has no traces of filters: train it with method.trace={layer} (records keep "
            "traces of seed 0)"
        )
    first = first_selected(kept["dessilbi/gammas"])
    last = len(kept["dessilbi/gammas"]) - 1
    found = np.isfinite(first)
    with figure_to(output, width=9.6, height=3.4) as figure:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LinearSegmentedColormap, LogNorm

        # Most filters are selected in the first epochs, so colours follow the logarithm of the epoch.
        # The lightest part of the colours is hard to see on white.
        earliest, latest = (np.min(first[found]), np.max(first[found])) if found.any() else (1, 1)
        scale = LogNorm(max(float(earliest), 1.0), max(float(latest), 2.0))
        shades = colormaps["plasma"].resampled(256)
        visible = LinearSegmentedColormap.from_list("visible", shades(np.linspace(0, 0.85, 64)))
        selected = int(found.sum())
        figure.suptitle(f"{layer}: {selected} of {len(first)} filters selected after {last} epochs")
        panels = figure.subplots(1, len(titles), squeeze=False)[0]
        for axes, (name, title) in zip(panels, titles.items(), strict=True):
            for norms, epoch in zip(kept[name].T, first, strict=True):
                if np.isfinite(epoch):
                    axes.plot(norms, color=visible(scale(max(epoch, 1.0))), linewidth=1)
                else:
                    axes.plot(norms, color="0.8", linewidth=0.6, zorder=1)
            axes.set_title(f"norms of {title}")
            axes.set_xlabel("epoch")
        bar = figure.colorbar(
            ScalarMappable(scale, visible),
            ax=list(panels),
            label="epoch of selection (grey: never)",
        )
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.yaxis.set_minor_formatter("{x:g}")


def first_selected(gammas: np.ndarray) -> np.ndarray:
    """The first epoch with a norm above zero for each filter; infinite for none.

    Args:
        gammas: norms of Gamma's filters ``(epochs + 1, filters)``.
    """
    selected = gammas > 0
    return np.where(selected.any(0), selected.argmax(0).astype(float), np.inf)


def draw_widths(runs: dict[str, RunDirectory], *, selection: str, output: Path) -> None:
    """Filters of every layer as the network was built, and what pruning has left of them.

    Args:
        runs: by label, a panel each; of runs with the evaluator `structure`.
        selection: `last` or `best`.
        output: image file.

    Raises:
        BenchError: the evaluator was not asked for.
    """
    with figure_to(output, width=4.2 * len(runs), height=3.2) as figure:
        panels = figure.subplots(1, len(runs), squeeze=False, sharey=True)[0]
        for axes, (label, run) in zip(panels, runs.items(), strict=True):
            built = _built_widths(run)
            left = _by_layer(run, "width", selection)
            kept = [left.get(name, 0.0) for name in built]
            places = range(len(built))
            axes.bar(places, list(built.values()), color="0.88", edgecolor="0.6", label="as built")
            axes.bar(places, kept, color="C0", width=0.6, label="after pruning")
            for place, (count, of) in enumerate(zip(kept, built.values(), strict=True)):
                axes.annotate(
                    f"{count:.0f}/{of}",
                    (place, of),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize="x-small",
                )
            _name_layers(axes, list(built))
            axes.set_title(label)
        panels[0].set_ylabel("outputs of the layer")
        handles, texts = panels[0].get_legend_handles_labels()
        legend_below(figure, dict(zip(texts, handles, strict=True)))


def draw_keep_ratios(runs: dict[str, RunDirectory], *, selection: str, output: Path) -> None:
    """Share of the weights that is left in every layer, a bar for each run.

    Args:
        runs: by label; of runs with the evaluator `structure`.
        selection: `last` or `best`.
        output: image file.

    Raises:
        BenchError: the evaluator was not asked for.
    """
    shares = {label: _by_layer(run, "layer_density", selection) for label, run in runs.items()}
    layers = [name for name in next(iter(shares.values())) if name != "convolutions"]
    with figure_to(output, width=6.4, height=3.4) as figure:
        axes = figure.add_subplot()
        thickness = 0.8 / len(runs)
        for number, (label, found) in enumerate(shares.items()):
            places = np.arange(len(layers)) + (number - (len(runs) - 1) / 2) * thickness
            kept = [100 * found.get(name, 0.0) for name in layers]
            bars = axes.bar(places, kept, thickness, label=label)
            axes.bar_label(bars, fmt="{:.3g}", fontsize="x-small", padding=1)
        _name_layers(axes, layers)
        axes.set(ylim=(0, 105), ylabel="weights kept [%]")
        handles, texts = axes.get_legend_handles_labels()
        legend_below(figure, dict(zip(texts, handles, strict=True)))


def draw_norms(runs: dict[str, RunDirectory], *, output: Path) -> None:
    """The filter norms of W (above) and V (below) in every layer, a column a run.

    A dot is a filter, a line the median of the layer.

    Args:
        runs: by label; of runs that end with a phase of `method=dessilbi`.
        output: image file.

    Raises:
        BenchError: the norms of one were not kept.
    """
    with figure_to(output, width=4.4 * len(runs), height=5.2) as figure:
        panels = figure.subplots(2, len(runs), squeeze=False, sharey="row")
        for column, (label, run) in enumerate(runs.items()):
            for row, (name, title) in enumerate((("weights", "W"), ("duals", "V"))):
                norms = final_norms(run, name)
                axes = panels[row, column]
                for place, values in enumerate(norms.values()):
                    # Dots stand beside each other in a fixed order, so that the same run gives the
                    # same picture.
                    beside = place + 0.5 * (np.arange(len(values)) / max(len(values) - 1, 1) - 0.5)
                    axes.plot(beside, values.numpy(), ".", color="C0", alpha=0.5, ms=6, mew=0)
                    middle = float(np.median(values.numpy()))
                    axes.plot([place - 0.4, place + 0.4], [middle] * 2, color="C1")
                _name_layers(axes, list(norms))
                axes.set_title(f"{label}: norms of {title}")
            panels[0, 0].set_ylabel("norm of a filter of W")
            panels[1, 0].set_ylabel("norm of a filter of V")
        from matplotlib.lines import Line2D

        keys: Keys = {
            "a filter": Line2D([], [], marker=".", ls="", color="C0"),
            "median of the layer": Line2D([], [], color="C1"),
        }
        legend_below(figure, keys)


def final_norms(run: RunDirectory, name: str) -> dict[str, torch.Tensor]:
    """Norms of a layer's filters at the end of a run, by layer.

    Args:
        run: whose last phase had `method=dessilbi`.
        name: `weights` (W), `duals` (V) or `gammas` (Gamma).

    Raises:
        BenchError: they were not kept.
    """
    kept = load_file(run.traces) if run.traces.is_file() else {}
    start = f"dessilbi/final/{name}/"
    found = {key.removeprefix(start): value for key, value in kept.items() if key.startswith(start)}
    if not found:
        raise BenchError(
            f"{run.path} kept no norms of filters (records keep those of seed 0): {TRAIN_ANEW}"
        )
    order = list(_built_widths(run))
    return {layer: found[layer] for layer in order if layer in found}


def _built_widths(run: RunDirectory) -> dict[str, int]:
    """Outputs of every layer of the network before anything was removed."""
    summary = run.read_summary()
    shape = tuple(summary["input_shape"])
    network = read_config(run).model.build(input_shape=shape, classes=summary["classes"])
    return structure_of(network, shape).widths


def _by_layer(run: RunDirectory, family: str, selection: str) -> dict[str, float]:
    final = run.read_summary()["final"]["trained"][selection]
    found = {
        key.partition("/")[2]: value
        for key, value in final.items()
        if key.partition("/")[0] == family
    }
    if not found:
        raise BenchError(
            f"{run.path} has no {family}/<layer>: bregbench evaluate run={run.path} "
            f"evaluators=[structure] selection={selection} adds it"
        )
    return found


def _name_layers(axes: Axes, names: list[str]) -> None:
    """Names below the axis, upright where they are many; no grid lines through bars."""
    many = len(names) > 8
    rotation = 90 if many else 0
    axes.set_xticks(
        range(len(names)), names, rotation=rotation, fontsize="x-small" if many else "small"
    )
    axes.grid(visible=False, axis="x")
