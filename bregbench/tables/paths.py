"""The solution path: norms of a layer's filters over epochs, by when Gamma selected them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from bregbench.errors import BenchError
from bregbench.plotting import figure_to
from bregbench.run_dir import RunDirectory


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
    kept = load_file(run.traces) if run.traces.is_file() else {}
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
