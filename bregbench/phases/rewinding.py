"""Winning tickets: the network is masked, and training restarts from earlier weights."""

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
    """A transform that can restore the weights of an earlier epoch.

    Attributes:
        rewind: epoch of the run whose weights are restored (0: its start); None keeps the present weights.
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
        """Restore the weights and norm statistics of the epoch `rewind`.

        Raises:
            BenchError: the structure of the network has changed since that epoch.
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
        density: share of the convolution weights that is kept, in (0, 1].
        relative: whether the share is one of the non-zero weights. In a repeated phase each round then
            prunes the weights that the last round has kept (iterative pruning).
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
