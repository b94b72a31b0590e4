"""Feedback on lam: train towards a wanted density instead of guessing the penalty's strength."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from bregman.density_control import LARGEST, missed, nonzero_share, penalised, require_penalised
from bregman.optimizer import PenalisedOptimizer
from bregman.ramps import Ramp


class DensityTarget:
    """Adjusts the lam of an optimiser's penalised groups while it trains.

    The wanted density climbs geometrically from the initial one to the target over the first half of
    training and stays there. Every few steps log lam moves in proportion to the gap
    log(density / wanted), because a larger lam leaves fewer weights. As in Rprop, the gain is halved
    when the gap changes its sign and grows otherwise, because the effect of lam on the density varies
    with the method and during training.

    Args:
        optimizer: An optimiser whose groups hold `penalty` and `lam`. Groups with `lam_scale` 0 do not
            count.
        target: Wanted density of the penalised weights, in (0, 1).
        steps: Number of steps of the whole training.
        interval: Steps between two adjustments; each costs one host synchronisation.
        ramp: Another course of the wanted density, which ends at the target; its `start` is replaced
            by the initial density.

    Raises:
        ValueError: No group of the optimiser has a penalty.
    """

    def __init__(
        self,
        optimizer: PenalisedOptimizer,
        *,
        target: float,
        steps: int,
        interval: int,
        ramp: Ramp | None = None,
    ) -> None:
        require_penalised(optimizer)
        self._ramp = ramp
        self._optimizer = optimizer
        self._target = target
        self._steps = max(steps, 1)
        self._interval = max(interval, 1)
        self._taken = 0
        self._gain = 0.5
        self._last_gap = 0.0
        self._initial = self.density()

    def density(self) -> float:
        """Share of non-zero entries among the penalised weights."""
        return nonzero_share(self._optimizer)

    @property
    def due(self) -> bool:
        """Whether the next call of `after_step` acts."""
        return (self._taken + 1) % self._interval == 0

    def after_step(self) -> None:
        """Count a step and adjust lam when it is time."""
        self._taken += 1
        if self._taken % self._interval:
            return
        floor = 1e-6
        gap = math.log(max(self.density(), floor) / self._wanted())
        if gap * self._last_gap < 0:
            self._gain = max(0.5 * self._gain, 0.01)
        else:
            self._gain = min(1.2 * self._gain, 1.0)
        self._last_gap = gap
        change = math.exp(max(-0.5, min(0.5, self._gain * gap)))
        for group in penalised(self._optimizer):
            group["lam"] = min(group["lam"] * change, LARGEST)

    def note(self) -> str | None:
        """A sentence where the density is not within 10 % of the target, else None."""
        return missed(self.density(), self._target)

    def _wanted(self) -> float:
        if self._ramp is not None:
            return replace(self._ramp, start=min(max(self._initial, 1e-6), 1.0)).density(
                self._taken
            )
        progress = min(1.0, 2 * self._taken / self._steps)
        start = max(self._initial, 1e-6)
        return start * (self._target / start) ** progress

    def state_dict(self) -> dict[str, Any]:
        """Number of steps, gain, last gap and initial density; the optimiser's state dict holds lam."""
        return {
            "taken": self._taken,
            "gain": self._gain,
            "last_gap": self._last_gap,
            "initial": self._initial,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._taken = state["taken"]
        self._gain = state["gain"]
        self._last_gap = state["last_gap"]
        self._initial = state["initial"]
