"""Figures of the lifted Bregman paper: activations, their Bregman losses, and codes of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor

from bregbench.figures.base import Figure, Printed, first_runs
from bregbench.figures.plotting import figure_to
from bregbench.foundations.errors import BenchError
from bregbench.storage.directory import RunDirectory
from bregbench.storage.weights import TRAIN_ANEW
from bregbench.tables.cells import FilledRow
from lifted import ReLU, Softmax, SoftThreshold, Tanh
from lifted.activation import Activation


@dataclass
class Codes(Figure):
    """The code of one image under the networks of the rows."""

    kind: ClassVar[str] = "codes"

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_codes(first_runs(rows), output=output)


@dataclass
class Activations(Figure):
    """Proximal activations."""

    kind: ClassVar[str] = "activations"
    from_runs: ClassVar[bool] = False

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_activations(output=output)


@dataclass
class BregmanLosses(Figure):
    """Bregman losses of proximal activations."""

    kind: ClassVar[str] = "bregman_losses"
    from_runs: ClassVar[bool] = False

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_losses(output=output)


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


THRESHOLD = 0.5


#: Figure 2's target: 0.5, or both halves of it for the softmax
TARGET = 0.5


_POINTS = 401


def draw_activations(*, output: Path) -> None:
    """ReLU, soft threshold, tanh, and both components of the softmax of two variables.

    Args:
        output: image file.
    """
    z = torch.linspace(-2, 2, _POINTS, dtype=torch.float64)
    curves = {
        "ReLU": ReLU(),
        f"soft threshold, {THRESHOLD}": SoftThreshold(THRESHOLD),
        "tanh": Tanh(),
    }
    with figure_to(output, width=10, height=6) as figure:
        for index, (title, activation) in enumerate(curves.items(), start=1):
            axes = figure.add_subplot(2, 3, index)
            axes.plot(z.numpy(), activation(z[:, None])[:, 0].numpy())
            axes.set(title=title, xlabel="z")
        side = torch.linspace(-4, 4, 81, dtype=torch.float64)
        grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1)
        values = Softmax()(grid.reshape(-1, 2)).reshape(grid.shape)
        for component in range(2):
            axes = figure.add_subplot(2, 3, 4 + component)
            seen = values[..., component].numpy()
            image = axes.imshow(seen, origin="lower", extent=(-4, 4, -4, 4))
            axes.set(title=f"softmax, component {component + 1}", xlabel="$z_1$", ylabel="$z_2$")
            figure.colorbar(image)


def draw_losses(*, output: Path) -> None:
    """B(x, z) and |x - sigma(z)|^2 / 2 over z for a fixed x, for four activations.

    The softmax varies in its first variable; the second one is 0.

    Args:
        output: image file.
    """
    with figure_to(output, width=14, height=3.4) as figure:
        z = torch.linspace(-2, 2, _POINTS, dtype=torch.float64)
        for index, (title, curves) in enumerate(loss_curves(z).items(), start=1):
            axes = figure.add_subplot(1, 4, index)
            for label, values in curves.items():
                axes.plot(z.numpy(), values.numpy(), label=label)
            axes.set(title=title, xlabel="z")
            axes.legend(fontsize="small")


def loss_curves(z: torch.Tensor) -> dict[str, dict[str, torch.Tensor]]:
    """The curves of Figure 2: by activation, the Bregman loss and half the squared distance.

    Args:
        z: float64 ``(points,)``.
    """
    sides: dict[str, tuple[Activation, int]] = {
        "ReLU": (ReLU(), 1),
        f"soft threshold, {THRESHOLD}": (SoftThreshold(THRESHOLD), 1),
        "tanh": (Tanh(), 1),
        "softmax": (Softmax(), 2),
    }
    found: dict[str, dict[str, torch.Tensor]] = {}
    for title, (activation, variables) in sides.items():
        points = torch.zeros(len(z), variables, dtype=z.dtype)
        points[:, 0] = z
        x = torch.full_like(points, TARGET)
        half = (x - activation(points)).square().sum(1) / 2
        found[title] = {
            "Bregman loss": activation.bregman_loss(x, points),
            "half squared distance": half,
        }
    return found
