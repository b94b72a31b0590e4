"""Feature maps, active units and reconstructions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from omegaconf import MISSING

from bregbench.evaluators.pictures import feature_maps
from bregbench.figures.base import Figure, Marks, Printed, first_runs, marks_of
from bregbench.figures.plotting import figure_to
from bregbench.foundations.errors import BenchError
from bregbench.runs.load import load_run
from bregbench.storage.directory import RunDirectory
from bregbench.storage.traces import traces_of
from bregbench.tables.cells import FilledRow, metric_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass
class FeatureMaps(Figure):
    """Feature maps and kernels of a convolution over epochs, of the figure's one row.

    Attributes:
        layer: the convolution, by its name in the network; it must see the input image.
        epochs: of the run, 0 being its start; their snapshots must have been kept.
    """

    kind: ClassVar[str] = "feature_maps"
    layer: str = MISSING
    epochs: list[int] = field(default_factory=list)

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        (run,) = first_runs(rows).values()
        draw_feature_maps(run, layer=self.layer, epochs=self.epochs, output=output)


@dataclass
class ActiveUnits(Figure):
    """Active units of all layers at some epochs, a panel a row.

    Attributes:
        epochs: of the run, 0 being its start.
    """

    kind: ClassVar[str] = "active_units"
    epochs: list[int] = field(default_factory=list)

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        runs = {row.label: list(row.runs.values()) for row in rows}
        draw_active_units(runs, epochs=self.epochs, output=output, marks=marks_of(published))


@dataclass
class Reconstructions(Figure):
    """What the networks of the rows made of images, a line a row.

    Attributes:
        splits: `test`, `train` or both side by side.
        images: how many; 0 for all that were kept.
    """

    kind: ClassVar[str] = "reconstructions"
    splits: list[str] = field(default_factory=lambda: ["test"])
    images: int = 0

    def check(self) -> None:
        """Refuse names that nothing stands behind."""
        super().check()
        for split in self.splits:
            self.require_name(split, ("test", "train"), "splits")

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        runs = first_runs(rows)
        draw_reconstructions(runs, splits=self.splits, images=self.images, output=output)


def draw_feature_maps(run: RunDirectory, *, layer: str, epochs: list[int], output: Path) -> None:
    """All feature maps of a convolution over epochs, and its kernels below.

    Args:
        run: a record with snapshots at these epochs and the trace of the evaluator `feature_maps`.
        layer: name of the convolution; it must see the input image.
        epochs: a column each.
        output: image file.

    Raises:
        BenchError: snapshots or the trace were not kept.
    """
    image = traces_of(run, "feature_maps")["input"]
    with figure_to(output, width=3 * len(epochs), height=6.4) as figure:
        figure.suptitle(f"{layer}: feature maps (above) and kernels (below)")
        axes = figure.subplots(2, len(epochs), squeeze=False)
        for column, epoch in enumerate(epochs):
            network = load_run(run.path, epoch=epoch)
            weight = network.get_parameter(f"{layer}.weight").detach()
            active = (weight.flatten(1) != 0).any(1).numpy()
            maps = feature_maps(network, layer, image)
            axes[0, column].set_title(f"epoch {epoch}: {active.sum()} of {len(weight)} active")
            _mosaic(axes[0, column], maps.numpy(), active, symmetric=False)
            _mosaic(axes[1, column], weight[:, 0].numpy(), active, symmetric=True)


def draw_active_units(
    runs: dict[str, list[RunDirectory]],
    *,
    epochs: list[int],
    output: Path,
    marks: Marks,
) -> None:
    """How many units each layer uses at some epochs, later ones darker, mean over seeds.

    Args:
        runs: the seeds of each row by its label; a panel each.
        epochs: a line each.
        output: image file.
        marks: published points, as crosses.
    """
    with figure_to(output, width=4.5 * len(runs) + 0.5, height=3.8) as figure:
        panels = figure.subplots(1, len(runs), squeeze=False, sharey=True)[0]
        for axes, (label, seeds) in zip(panels, runs.items(), strict=True):
            inputs = math.prod(seeds[0].read_summary()["input_shape"])
            metrics = [m for m in seeds[0].read_metrics()[-1] if m.startswith("active_units/")]
            for index, epoch in enumerate(epochs):
                shade = f"{0.8 * (1 - index / max(1, len(epochs) - 1)):.2f}"
                shares = np.array([[_share(run, m, epoch) for m in metrics] for run in seeds])
                counts = [inputs, *(inputs * shares.mean(0))]
                axes.plot(range(len(counts)), counts, "o-", color=shade, label=f"epoch {epoch}")
                published = [dict(marks.get((label, metric), [])).get(epoch) for metric in metrics]
                for layer, share in enumerate(published, start=1):
                    if share is not None:
                        axes.plot(layer, inputs * share, "x", color=shade, zorder=3)
            names = ["input", *(metric.removeprefix("active_units/") for metric in metrics)]
            axes.set_xticks(range(len(names)), names, rotation=45)
            axes.set_title(label)
        panels[0].set_ylabel("active neurons (crosses: published)")
        panels[0].legend(fontsize="small")


def _share(run: RunDirectory, metric: str, epoch: int) -> float:
    found = metric_of(run, f"{metric}@{epoch}", variant="trained", selection="last")
    return math.nan if found is None else found


def draw_reconstructions(
    runs: dict[str, RunDirectory],
    *,
    splits: list[str] | None = None,
    images: int = 0,
    output: Path,
) -> None:
    """What networks were given, what each makes of it, and the clean images where they are others.

    Args:
        runs: by label; records with the trace of the evaluator `reconstruction`.
        splits: `test`, `train` or both, side by side; `test` if None.
        images: how many of each; 0 for all that were kept.
        output: image file.

    Raises:
        BenchError: the trace of one was not kept.
    """
    splits = splits or ["test"]
    prefixes = {"test": "", "train": "train_"}
    lines: dict[str, list[torch.Tensor]] = {"input": []}

    def kept(run: RunDirectory, split: str, name: str) -> torch.Tensor:
        trace, key = traces_of(run, "reconstruction"), f"{prefixes[split]}{name}"
        if key not in trace:
            option = f"evaluators.reconstruction.{prefixes[split]}images"
            raise BenchError(
                f"{run.path} kept no {split} images: delete it (run directory and record) and train it "
                f"again with {option}=8"
            )
        return trace[key][: images or None]

    first = next(iter(runs.values()))
    for split in splits:
        lines["input"].extend(kept(first, split, "inputs"))
        for label, run in runs.items():
            lines.setdefault(label, []).extend(kept(run, split, "outputs"))
        lines.setdefault("clean", []).extend(kept(first, split, "targets"))
    lines["clean"] = lines.pop("clean")  # below everything else
    if "test" in splits:
        for label, run in runs.items():
            final = run.read_summary()["final"]["trained"]["last"]
            lines[label + f"\nSSIM {final['reconstruction/ssim']:.3f}"] = lines.pop(label)
        lines["clean"] = lines.pop("clean")
    if all(torch.equal(*pair) for pair in zip(lines["input"], lines["clean"], strict=True)):
        del lines["clean"]
    count = len(lines["input"])
    with figure_to(output, width=count + 1.2, height=1.05 * len(lines)) as figure:
        axes = figure.subplots(len(lines), count, squeeze=False)
        for row, (label, pictures) in enumerate(lines.items()):
            for column, image in enumerate(pictures):
                axes[row, column].imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=255)
                axes[row, column].set(xticks=[], yticks=[])
            axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize="small")
        if len(splits) > 1:
            for index, split in enumerate(splits):
                axes[0, index * count // len(splits)].set_title(split, loc="left")


def _mosaic(axes: Axes, tiles: np.ndarray, active: np.ndarray, *, symmetric: bool) -> None:
    """Images ``(tiles, height, width)`` in a square, each in its own scale; those not active are grey."""
    count, height, width = tiles.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, 3), 1.0)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = row * (height + 1), column * (width + 1)
        shown = _colours(tile, symmetric=symmetric) if active[index] else 0.9
        canvas[top : top + height, left : left + width] = shown
    axes.imshow(canvas, interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def _colours(tile: np.ndarray, *, symmetric: bool) -> np.ndarray:
    """One image ``(height, width, 3)``: from blue over white to red, or from black to white."""
    from matplotlib import colormaps

    high = float(np.abs(tile).max()) if symmetric else float(tile.max())
    low = -high if symmetric else float(tile.min())
    share = (tile - low) / ((high - low) or 1.0)
    return colormaps["RdBu_r" if symmetric else "gray"](share)[..., :3]
