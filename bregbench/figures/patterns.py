"""Images that excite filters most (DessiLBI, Figure 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from omegaconf import MISSING

from bregbench.figures.base import Figure, Printed, first_runs
from bregbench.figures.plotting import figure_to
from bregbench.runs.load import load_run
from bregbench.storage.directory import RunDirectory
from bregbench.tables.cells import FilledRow
from dessilbi.patterns import exciting_images

if TYPE_CHECKING:
    pass


#: filters of which patterns are shown
SHOWN = 12


@dataclass
class Patterns(Figure):
    """Images that excite the filters of a layer most, a line for each row and epoch.

    Attributes:
        layer: a Linear or convolution layer, by its name in the network.
        epochs: of the run, 0 being its start; their snapshots must have been kept.
    """

    kind: ClassVar[str] = "patterns"
    layer: str = MISSING
    epochs: list[int] = field(default_factory=list)

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_patterns(first_runs(rows), layer=self.layer, epochs=self.epochs, output=output)


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
