"""Figures of functions: proximal activations and their Bregman losses, drawn without any run.

Wang and Benning (2023), Figures 1 and 2; the loss of the soft threshold is the corrected one
(docs/methods/lifted.md).
"""

from __future__ import annotations

from pathlib import Path

import torch

from bregbench.plotting import figure_to
from lifted import ReLU, Softmax, SoftThreshold, Tanh
from lifted.activation import Activation

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
