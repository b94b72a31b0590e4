"""Phases: the consecutive parts of a run, each with its own method, length and schedule."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from bregbench.checks import require
from bregbench.identity import chosen, fill_chosen
from bregbench.methods import MethodConfig
from bregbench.schedules import Constant, ScheduleConfig


@dataclass
class PhaseConfig:
    """One part of a run.

    Attributes:
        method: how the network is trained in it.
        epochs: for how long.
        schedule: learning-rate schedule over those epochs.
    """

    method: MethodConfig = MISSING
    epochs: int = MISSING
    schedule: ScheduleConfig = chosen(Constant)

    def __post_init__(self) -> None:
        fill_chosen(self)

    def check(self, name: str) -> None:
        """Refuse a length out of range."""
        require(self.epochs >= 0, f"phases.{name}.epochs", self.epochs, "at least 0")
