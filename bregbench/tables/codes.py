"""The code of one image under several trainings, value by value."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from bregbench.errors import BenchError
from bregbench.loading import TRAIN_ANEW
from bregbench.plotting import figure_to
from bregbench.run_dir import RunDirectory


def draw_codes(runs: dict[str, RunDirectory], *, output: Path) -> None:
    """The image on the left, the values of its code on the right, a panel for each network.

    Every panel has its own scale, since trainings differ in it.

    Args:
        runs: by label; records with the trace of the evaluator `codes`.
        output: image file.

    Raises:
        BenchError: the trace of one was not kept.
    """
    traces = {label: _trace(run) for label, run in runs.items()}
    with figure_to(output, width=7.4, height=1.35 * len(traces) + 0.5) as figure:
        grid = figure.add_gridspec(len(traces), 2, width_ratios=(1, 4))
        picture = figure.add_subplot(grid[:, 0])
        picture.imshow(next(iter(traces.values()))["image"][0].numpy(), cmap="gray")
        picture.set(xticks=[], yticks=[])
        for row, (label, trace) in enumerate(traces.items()):
            code = trace["code"]
            axes = figure.add_subplot(grid[row, 1])
            axes.vlines(range(len(code)), 0, code.numpy(), color="C0", linewidth=0.8)
            axes.axhline(0, color="0.6", linewidth=0.6)
            zeros = int((code == 0).sum())
            axes.set_title(f"{label}: {zeros} of {len(code)} zeros", loc="left", fontsize="small")
            last = row == len(traces) - 1
            axes.tick_params(labelbottom=last)
            axes.set_xlabel("unit of the code" if last else "")


def _trace(run: RunDirectory) -> dict[str, Tensor]:
    names = ("image", "code")
    kept = load_file(run.traces) if run.traces.is_file() else {}
    found = {name: kept[f"codes/{name}"] for name in names if f"codes/{name}" in kept}
    if len(found) < len(names):
        raise BenchError(
            f"{run.path} has no traces of evaluators=[codes] (records keep those of seed 0): {TRAIN_ANEW}"
        )
    return found
