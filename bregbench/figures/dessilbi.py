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
    """Share of the weights kept in every layer, a panel a row."""

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

    Early filters are dark, late ones light, those never selected grey and dashed.

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
    with figure_to(output, width=12, height=3.6) as figure:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        # The lightest tenth of the colours is hard to see on white.
        shades, scale = colormaps["viridis"], Normalize(0, max(last, 1) / 0.9)
        selected = int(np.isfinite(first).sum())
        figure.suptitle(f"{layer}: {selected} of {len(first)} filters selected after {last} epochs")
        panels = figure.subplots(1, len(titles), squeeze=False)[0]
        for axes, (name, title) in zip(panels, titles.items(), strict=True):
            for norms, epoch in zip(kept[name].T, first, strict=True):
                if np.isfinite(epoch):
                    axes.plot(norms, color=shades(scale(epoch)), linewidth=0.8)
                else:
                    axes.plot(norms, "--", color="0.7", linewidth=0.8)
            axes.set_title(f"norms of {title}")
            axes.set_xlabel("epoch")
        figure.colorbar(
            ScalarMappable(scale, shades), ax=list(panels), label="epoch of selection (grey: never)"
        )


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
    with figure_to(output, width=8, height=2.8 * len(runs)) as figure:
        panels = figure.subplots(len(runs), 1, squeeze=False)[:, 0]
        for axes, (label, run) in zip(panels, runs.items(), strict=True):
            built = _built_widths(run)
            left = _by_layer(run, "width", selection)
            places = range(len(built))
            axes.step(places, list(built.values()), where="mid", color="0.6", label="as built")
            kept = [left.get(name, 0.0) for name in built]
            axes.bar(places, kept, color="C0", label="after pruning")
            _name_layers(axes, list(built))
            axes.set_title(label)
            axes.set_ylabel("outputs")
        panels[0].legend(fontsize="small")


def draw_keep_ratios(runs: dict[str, RunDirectory], *, selection: str, output: Path) -> None:
    """Share of the weights that is left in every layer, a panel for each run.

    Args:
        runs: by label; of runs with the evaluator `structure`.
        selection: `last` or `best`.
        output: image file.

    Raises:
        BenchError: the evaluator was not asked for.
    """
    with figure_to(output, width=8, height=2.8 * len(runs)) as figure:
        panels = figure.subplots(len(runs), 1, squeeze=False)[:, 0]
        for axes, (label, run) in zip(panels, runs.items(), strict=True):
            shares = _by_layer(run, "layer_density", selection)
            shares.pop("convolutions", None)
            axes.bar(range(len(shares)), [100 * share for share in shares.values()])
            _name_layers(axes, list(shares))
            axes.set(title=label, ylim=(0, 100))
            axes.set_ylabel("weights kept [%]")


def draw_norms(runs: dict[str, RunDirectory], *, output: Path) -> None:
    """Distribution of the filter norms of W (above) and V (below) in every layer, a column a run.

    Boxes reach from the first to the third quartile, whiskers to the extremes.

    Args:
        runs: by label; of runs that end with a phase of `method=dessilbi`.
        output: image file.

    Raises:
        BenchError: the norms of one were not kept.
    """
    with figure_to(output, width=5.5 * len(runs), height=6) as figure:
        panels = figure.subplots(2, len(runs), squeeze=False, sharey="row")
        for column, (label, run) in enumerate(runs.items()):
            for row, (name, title) in enumerate((("weights", "W"), ("duals", "V"))):
                norms = final_norms(run, name)
                axes = panels[row, column]
                axes.boxplot([values.numpy() for values in norms.values()], whis=(0, 100))
                axes.set_xticks(
                    range(1, len(norms) + 1), list(norms), rotation=90, fontsize="x-small"
                )
                axes.set_title(f"{label}: norms of {title}")


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
            f"{run.path} has no {family}/<layer>: bregbench-evaluate run={run.path} "
            f"evaluators=[structure] selection={selection} adds it"
        )
    return found


def _name_layers(axes: Axes, names: list[str]) -> None:
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize="x-small")
