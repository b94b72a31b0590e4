"""Tickets: the network is masked and begins again from earlier weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import check_numbers
from bregbench.measures.layers import CONVOLUTIONS
from bregbench.phases.base import Begun, TransformConfig, Turn
from bregman import apply_masks, magnitude_masks

if TYPE_CHECKING:
    pass


@dataclass
class Rewinding(TransformConfig):
    """A transform that can put the weights back to those of an earlier epoch.

    Attributes:
        rewind: epoch of the run whose weights are taken, 0 being its start; None keeps the present
            ones.
    """

    rewind: int | None = None

    def check(self, at: str) -> None:
        allowed = "an epoch from 0 on, or null to keep the weights"
        require(
            self.rewind is None or self.rewind >= 0,
            f"{at}.rewind",
            self.rewind,
            allowed,
        )

    def rewinds(self) -> list[int]:
        return [] if self.rewind is None else [self.rewind]

    def go_back(self, turn: Turn) -> None:
        """Put the weights and norm statistics back.

        Raises:
            BenchError: the network's structure has changed since.
        """
        if self.rewind is None:
            return
        try:
            turn.network.load_state_dict(turn.snapshot(self.rewind))
        except RuntimeError as error:
            raise BenchError(
                f"phases.{turn.phase}.begin.rewind={self.rewind}: the network had another structure "
                "in that epoch; rewind before anything is removed or grown"
            ) from error


@dataclass
class MagnitudeTicket(Rewinding):
    """Keep the largest convolution weights and rewind: winning tickets by magnitude.

    Attributes:
        density: share of all convolution weights that is kept, of all there are.
        relative: a share of those that are not zero instead; in a phase that is repeated, each round
            prunes what the one before has left (iterative pruning).
    """

    kind: ClassVar[str] = "magnitude_ticket"
    density: float = 0.1
    relative: bool = False

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "density", above=0, most=1)

    def begin(self, turn: Turn) -> Begun:
        share = self.density * (_left(turn.network) if self.relative else 1.0)
        masks = magnitude_masks(turn.network, density=share, scope="global", modules=CONVOLUTIONS)
        self.go_back(turn)
        apply_masks(turn.network, masks)
        return Begun(network=turn.network, masks=masks)


def _left(network: nn.Module) -> float:
    """Share of the convolution weights that are not zero."""
    weights = [m.weight for m in network.modules() if isinstance(m, CONVOLUTIONS)]
    return sum(int(w.count_nonzero()) for w in weights) / sum(w.numel() for w in weights)
