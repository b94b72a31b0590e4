"""Phases: the consecutive parts of a run, each with its own length, and its own method where wanted."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from bregbench.checks import require
from bregbench.cutting import TransformConfig
from bregbench.methods import MethodConfig
from bregbench.objectives import ObjectiveConfig
from bregbench.schedules import ScheduleConfig


@dataclass
class PhaseConfig:
    """One part of a run.

    Attributes:
        epochs: its length.
        order: its place; several phases need different ones, because the order in which Hydra merges
            files is not one to rely on.
        method: how the network is trained in it; None for the run's `method`.
        objective: what is differentiated in it; None for the run's `objective`.
        schedule: learning-rate schedule over its epochs; None for the run's `trainer.schedule`.
        begin: what is done to the network first; None for nothing.
        repeat: how often the phase comes, each time with `begin` first; growing stops by itself
            earlier.
    """

    epochs: int = MISSING
    order: int = 0
    method: MethodConfig | None = None
    objective: ObjectiveConfig | None = None
    schedule: ScheduleConfig | None = None
    begin: TransformConfig | None = None
    repeat: int = 1

    def check(self, name: str) -> None:
        """Refuse values out of range.

        Raises:
            BenchError: names the value and what is allowed.
        """
        require(self.epochs >= 0, f"phases.{name}.epochs", self.epochs, "at least 0")
        require(self.repeat >= 1, f"phases.{name}.repeat", self.repeat, "at least 1")
        if self.begin is not None:
            self.begin.check(name)


@dataclass(frozen=True)
class Phase:
    """One part of a run with nothing left open.

    Repetitions have their `group` in common; `number` counts them from 1 to `repeat`.
    """

    name: str
    epochs: int
    method: MethodConfig
    objective: ObjectiveConfig
    schedule: ScheduleConfig
    begin: TransformConfig | None = None
    group: str = ""
    number: int = 1
    repeat: int = 1
