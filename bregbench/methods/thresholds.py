"""Thresholds: which of the smallest weights a finished network loses."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from bregbench.foundations.errors import require
from bregbench.foundations.ranges import check_numbers
from bregbench.measures.layers import CONVOLUTIONS, TRANSPOSED
from bregman import apply_masks, magnitude_masks
from bregman.choices import Grouping, Scope

if TYPE_CHECKING:
    pass


Masks = dict[str, torch.Tensor]


@dataclass
class Cut:
    """Which weights are too small to keep; with neither density nor threshold, none.

    Attributes:
        density: keep this share of the units.
        threshold: keep units whose root-mean-square entry is larger than this, instead.
        by: the units.
        scope: whether the share is of each layer or of all of them.
        linear_density: share of the units of linear layers, where it is not that of the
            convolutions; the two kinds then do not compete.
    """

    density: float | None = None
    threshold: float | None = None
    by: Grouping = Grouping.entry
    scope: Scope = Scope.all
    linear_density: float | None = None

    @property
    def active(self) -> bool:
        """Whether anything is cut."""
        return self.density is not None or self.threshold is not None

    def check(self, at: str) -> None:
        """Refuse values out of range.

        Args:
            at: what the user typed in front of `.density`.

        Raises:
            BenchError: names the key, the value and what is allowed.
        """
        both = self.density is not None and self.threshold is not None
        require(not both, f"{at}.threshold", self.threshold, "left out where density is given")
        check_numbers(self, at, "density", "linear_density", above=0, most=1)
        check_numbers(self, at, "threshold", least=0)
        require(
            self.linear_density is None or self.density is not None,
            f"{at}.linear_density",
            self.linear_density,
            f"left out without {at}.density, the share of the convolutions",
        )

    def masks(self, network: nn.Module) -> Masks:
        """Masks of the Linear and convolution weights: True where a weight is kept."""
        masks = partial(magnitude_masks, network, by=self.by, scope=self.scope)
        if self.linear_density is None:
            return masks(density=self.density, threshold=self.threshold)
        convolutions = masks(density=self.density, modules=(*CONVOLUTIONS, *TRANSPOSED))
        return convolutions | masks(density=self.linear_density, modules=nn.Linear)

    def applied(self, network: nn.Module) -> nn.Module:
        """A copy of the network without the small weights."""
        judged = copy.deepcopy(network)
        apply_masks(judged, self.masks(network))
        return judged
