"""Pruning by magnitude, at once or gradually over the repetitions of a phase."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from bregman import apply_masks

if TYPE_CHECKING:
    pass
from bregbench.methods.thresholds import Cut, Grouping, Scope
from bregbench.phases.base import Begun, TransformConfig, Turn


class Approach(StrEnum):
    """How a repeated phase reaches its density.

    `at_once` prunes to the density in every round. `geometric` keeps an equal share of the remaining
    weights in every round (Han et al., 2015). `cubic` raises the sparsity to the share 1 - (1 - k / n)^3
    of its final value in round k of n (Zhu and Gupta, 2017).
    """

    at_once = "at_once"
    geometric = "geometric"
    cubic = "cubic"

    def density(self, last: float, *, number: int, of: int) -> float:
        """The density of round `number`, from 1, of `of` rounds with the final density `last`."""
        match self:
            case Approach.at_once:
                return last
            case Approach.geometric:
                return last ** (number / of)
            case Approach.cubic:
                return last + (1 - last) * (1 - number / of) ** 3


@dataclass
class MagnitudePruning(TransformConfig):
    """Mask the smallest weights, kernels, filters or rows during the phase (Han et al., 2015).

    Attributes:
        density: share of all units that is kept, including units that earlier phases have pruned.
        by: the units.
        scope: whether the share is that of each layer or of all layers together.
        linear_density: share of the units of linear layers, if it differs from that of convolutions; the
            two kinds of layers then do not compete.
        approach: how the repetitions of a phase reach these densities.
    """

    kind: ClassVar[str] = "magnitude_pruning"
    density: float = 0.5
    by: Grouping = Grouping.entry
    scope: Scope = Scope.all
    linear_density: float | None = None
    approach: Approach = Approach.at_once

    def check(self, at: str) -> None:
        self._cut().check(at)

    def begin(self, turn: Turn) -> Begun:
        cut = self._cut(number=turn.number, of=turn.repeat)
        masks = cut.masks(turn.network)
        apply_masks(turn.network, masks)
        return Begun(network=turn.network, masks=masks)

    def _cut(self, *, number: int = 1, of: int = 1) -> Cut:
        def now(last: float) -> float:
            return self.approach.density(last, number=number, of=of)

        return Cut(
            density=now(self.density),
            by=self.by,
            scope=self.scope,
            linear_density=None if self.linear_density is None else now(self.linear_density),
        )
