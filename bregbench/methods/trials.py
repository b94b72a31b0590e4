"""Trials: whether something pays, decided by the times of the run's own steps."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

#: cycles that are timed before a decision
_CYCLES = 3
#: what pays takes at most this share of the ordinary time
_PAYS = 0.95


@dataclass
class Trial:
    """Times from which `auto` decides: of cycles, and of an ordinary step beside each.

    A cycle is timed with the full step that comes behind it, which makes up for the steps that were
    missed; the step after that one is ordinary.

    Attributes:
        on: whether steps are timed now.
        seconds: of the steps of the cycle at work and of the two full steps behind it.
        ratios: of each cycle, seconds per step as a share of those of the ordinary step beside it.
        wait: epochs until the next trial, where the last one said no.
        pause: how many they were then.
    """

    on: bool = False
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    wait: int = 0
    pause: int = 0

    @property
    def ratio(self) -> float | None:
        """The median over cycles; None before the first."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def over(self) -> bool:
        """Whether there are enough cycles."""
        return len(self.ratios) >= _CYCLES

    def due(self) -> bool:
        """Begin or continue, unless the last no is recent; called once an epoch."""
        if self.wait:
            self.wait -= 1
            return False
        if not self.on:
            self.ratios = []
        self.on, self.seconds = True, []
        return True

    def add(self, seconds: float, coarse_steps: int) -> None:
        """Take the time of a step; of the last one of a round make a ratio."""
        self.seconds.append(seconds)
        if len(self.seconds) == coarse_steps + 3:
            *cycle, ordinary = self.seconds[1:]
            self.ratios.append(sum(cycle) / len(cycle) / max(ordinary, 1e-9))
            self.seconds = []

    def decide(self) -> bool:
        """Whether shrinking pays; a no makes the next trial wait, twice as long every time."""
        pays = (self.ratio or 0.0) <= _PAYS
        self.pause = 0 if pays else max(1, 2 * self.pause)
        self.wait, self.on = self.pause, False
        return pays
