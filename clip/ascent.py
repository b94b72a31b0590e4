"""Ascent on the difference quotients of pairs: Algorithm 1 of the CLIP paper, with adaptive steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bregman.validation import check_choice, check_positive
from clip.choices import Adapt
from clip.pairs import PairSet
from clip.quotients import Seen, difference_quotients, judging, measure, outputs_of, per_pair, see

# Rates stay within 2^-20 and 2^20. With a smaller rate a move is lost in rounding and never accepted.
# So the rate restarts at 1: otherwise a pair at a maximum could not follow when weights move the maximum.
_LEAST, _MOST = 2.0**-20, 2.0**20


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """Settings of the ascent x += tau L grad_x L on both ends of every pair.

    In passes over the pairs, a step costs one forward and one backward to the inputs, and one more
    forward (without a graph) for acceptance.

    Attributes:
        step_size: tau of Algorithm 1, in squared units of the inputs over squared units of the
            quotient. The published code steps along the gradient of L^2, so its `reg_lr` of r is
            tau = 2 r.
        accept: a pair moves only where its quotient grows, judged by the same weights before and
            after the move. Not in the paper's box.
        adapt: how step sizes adapt: `none`; a factor for each `pair`; or one `global` factor, which
            grows if more than half of the pairs move. Adaptation needs `accept`. Pairs keep their
            factors from call to call until they are refreshed.
        growth: factor of a step size after an accepted move, at least 1.
        shrink: factor of a step size after a refused move, in (0, 1].

    Raises:
        ValueError: a number or a name is out of range.
    """

    step_size: float = 1.0
    accept: bool = True
    adapt: str = "pair"
    growth: float = 1.3
    shrink: float = 0.5

    def __post_init__(self) -> None:
        check_positive("step_size", self.step_size)
        check_choice("adapt", self.adapt, Adapt)
        if self.adapt != "none" and not self.accept:
            raise ValueError(
                f"adapt={self.adapt!r} with accept=False: steps adapt to whether pairs move, so "
                "it must be 'none'"
            )
        if not 1 <= self.growth < float("inf"):
            raise ValueError(f"growth={self.growth}: must be at least 1 and finite")
        if not 0 < self.shrink <= 1:
            raise ValueError(f"shrink={self.shrink}: must be in (0, 1]")

    def run(self, model: nn.Module, pairs: PairSet, steps: int = 1) -> Tensor:
        """Ascend with all pairs and fixed weights; return Lip(f; X_Lip), a scalar.

        The modes and gradients of the model do not change.

        Raises:
            ValueError: fewer than one step.
        """
        if steps < 1:
            raise ValueError(f"steps={steps}: must be at least 1")
        everything = slice(0, len(pairs))
        with judging(model, pairs.points.device):
            for _ in range(steps):
                self.move(model, pairs, everything, see(model, pairs.points))
            with torch.no_grad():
                pairs.quotients.copy_(difference_quotients(model, pairs.points))
        return pairs.estimate()

    @torch.no_grad()
    def move(self, model: nn.Module, pairs: PairSet, part: slice, seen: Seen) -> None:
        """Move a part of the pairs by one step along `seen.gradients`, and note their quotients.

        Args:
            model: the network, in evaluation mode.
            pairs: the pair set, which is changed in place.
            part: slice of the pairs to move.
            seen: their quotients and gradients under the present weights.
        """
        points, rates = pairs.points[part], pairs.rates[part]
        scale = per_pair(self.step_size * rates, points)
        moved = pairs.limit(torch.addcmul(points, scale, seen.gradients))
        if self.accept:
            reached, _, _, distances = measure(moved, outputs_of(model, moved))
            better = reached > seen.quotients
        else:
            reached = seen.quotients  # the next step computes the quotients of the new points
            distances = torch.linalg.vector_norm((moved[:, 0] - moved[:, 1]).flatten(1), dim=1)
            better = torch.ones_like(distances, dtype=torch.bool)
        # Clamping to the range of values may have brought the two points of a pair together again.
        better &= distances > 0.5 * pairs.min_distance
        pairs.quotients[part] = torch.where(better, reached, seen.quotients)
        pairs.points[part] = torch.where(per_pair(better, points), moved, points)
        self._adapt(pairs, part, better)

    def _adapt(self, pairs: PairSet, part: slice, better: Tensor) -> None:
        if self.adapt == "none":
            return
        rates = pairs.rates if self.adapt == "global" else pairs.rates[part]
        if self.adapt == "global":
            better = better.to(rates).mean() > 0.5
        rates.mul_(torch.where(better, self.growth, self.shrink))
        rates.copy_(torch.where(rates < _LEAST, 1, rates.clamp(max=_MOST)))
