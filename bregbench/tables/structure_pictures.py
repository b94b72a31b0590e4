"""Figures about structure: widths, densities and norms of layers, filter patterns, trade-offs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file

from bregbench.errors import BenchError
from bregbench.loading import TRAIN_ANEW, load_run, read_config
from bregbench.measures.patterns import exciting_images
from bregbench.measures.structure import structure_of
from bregbench.plotting import figure_to, logarithmic
from bregbench.run_dir import RunDirectory
from bregbench.tables.cells import FilledRow, metric_of
from bregbench.tables.verdicts import mean_and_deviation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: filters of which patterns are shown
SHOWN = 12


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


def draw_patterns(
    runs: dict[str, RunDirectory], *, layer: str, epochs: list[int], output: Path
) -> None:
    """Images that excite a layer's filters most, those with the largest norms at the end.

    Args:
        runs: by label, a line for each of their epochs; with snapshots at these epochs.
        layer: a Linear or convolution layer.
        epochs: of the run, in this order.
        output: image file.

    Raises:
        BenchError: no weights of an epoch were kept.
    """
    lines: list[tuple[str, np.ndarray, np.ndarray]] = []
    for label, run in runs.items():
        networks = {epoch: load_run(run.path, epoch=epoch) for epoch in epochs}
        norms = {
            epoch: network.get_parameter(f"{layer}.weight").detach().flatten(1).norm(dim=1)
            for epoch, network in networks.items()
        }
        chosen = norms[epochs[-1]].argsort(descending=True)[:SHOWN].tolist()
        shape = tuple(run.read_summary()["input_shape"])
        for epoch, network in networks.items():
            images = exciting_images(network, layer, chosen, input_shape=shape)
            pictures = images.permute(0, 2, 3, 1).numpy()
            lines.append((f"{label}\nepoch {epoch}", pictures, norms[epoch][chosen].numpy()))
    columns = max(len(pictures) for _, pictures, _ in lines)
    with figure_to(output, width=0.85 * columns + 1.4, height=0.95 * len(lines) + 0.4) as figure:
        figure.suptitle(f"{layer}: images that excite filters most, and norms of the filters")
        axes = figure.subplots(len(lines), columns, squeeze=False)
        for row, (label, pictures, sizes) in enumerate(lines):
            for column in range(columns):
                panel = axes[row, column]
                panel.set(xticks=[], yticks=[])
                if column < len(pictures):
                    shown = pictures[column]
                    grey = shown.shape[2] == 1
                    panel.imshow(
                        shown[..., 0] if grey else shown,
                        cmap="gray" if grey else None,
                        vmin=0,
                        vmax=1,
                    )
                    panel.set_xlabel(f"{sizes[column]:.2g}", fontsize="xx-small", labelpad=1)
            axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize="x-small")


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
