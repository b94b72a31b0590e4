"""Thresholds: the choice of the small weights that a finished network loses."""

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
    """The choice of small weights to remove; without density and threshold no weight is removed.

    Attributes:
        density: share of the units that is kept, in (0, 1].
        threshold: alternative to `density`: units whose root mean square is larger are kept.
        by: the units.
        scope: whether the share is that of each layer or of all layers together.
        linear_density: share of the units of linear layers, if it differs from that of convolutions; the
            two kinds of layers then do not compete.
    """

    density: float | None = None
    threshold: float | None = None
    by: Grouping = Grouping.entry
    scope: Scope = Scope.all
    linear_density: float | None = None

    @property
    def active(self) -> bool:
        """Whether a density or a threshold is given."""
        return self.density is not None or self.threshold is not None

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of these options, such as `method.cut`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
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
