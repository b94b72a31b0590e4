"""A figure: a table whose rows are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from bregbench.tables.spec import Layout, Table


class Drawing(Enum):
    """What a figure shows."""

    curves = "curves"
    feature_maps = "feature_maps"
    active_units = "active_units"
    reconstructions = "reconstructions"
    graphs = "graphs"
    pairs = "pairs"
    points = "points"
    zero_padding = "zero_padding"
    nyquist = "nyquist"
    activations = "activations"
    bregman_losses = "bregman_losses"
    methods = "methods"
    solution_path = "solution_path"
    widths = "widths"
    keep_ratios = "keep_ratios"
    norms = "norms"
    patterns = "patterns"
    trade_off = "trade_off"
    codes = "codes"

    @property
    def from_runs(self) -> bool:
        """Whether it shows what runs have left, and not functions alone."""
        return self not in (
            Drawing.activations,
            Drawing.bregman_losses,
            Drawing.zero_padding,
            Drawing.nyquist,
        )


@dataclass
class Figure(Table):
    """A figure whose curves or pictures are rows: what was read off it is a table with verdicts.

    Attributes:
        drawing: curves over epochs; feature maps and kernels of `layer` at `epochs`; active units of
            all layers at `epochs`; what networks made of images; graphs of networks of one variable;
            pairs of images before and after their ascent; curves through the points `metric@x` of
            rows; norms of the filters of `layer` over epochs; widths, densities and final norms of
            all layers; images that excite the filters of `layer` most, at `epochs`; a final metric
            over the metric `x`; codes of one image; methods of several tables by accuracy, density and
            Lipschitz bounds; and four without runs: a kernel padded
            in space and in frequency, how the Nyquist frequency is split, proximal activations, and
            their Bregman losses.
        panels: of curves: metrics over epochs, a panel each; of points and trade-offs: how the labels
            of the rows in a panel begin.
        x: of points: name of the horizontal axis; of a trade-off: the metric on it.
        y: of a trade-off: the metrics on the vertical axis, a panel each; empty for the first column.
        log: of curves: metrics drawn on a logarithmic axis.
        epochs: of the run, 0 being its start.
        layer: a convolution, by its name in the network.
        images: of reconstructions: how many; 0 for all that were kept.
        splits: of reconstructions: `test`, `train` or both side by side.
        ends: of curves: rows drawn as horizontal lines at their last values.
        sources: of methods: the tables whose rows are shown, and which of them; empty for all.
    """

    drawing: Drawing = Drawing.curves
    panels: list[str] = field(default_factory=list)
    x: str = ""
    y: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    layer: str = ""
    images: int = 0
    splits: list[str] = field(default_factory=lambda: ["test"])
    ends: list[str] = field(default_factory=list)
    sources: dict[str, list[str]] = field(default_factory=dict)

    def layout(self) -> Layout:
        return Layout(
            curves=self.drawing is Drawing.points,
            panels=tuple(self.panels),
            x=self.x,
            points=self.drawing is Drawing.curves,
        )
