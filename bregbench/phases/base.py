"""Phases: the consecutive parts of a run, and how one begins from what the last has left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from bregbench.foundations.ranges import MOST_THREADS, check_counts

if TYPE_CHECKING:
    from bregbench.foundations.streams import Streams
    from bregbench.methods import Method, MethodConfig
from omegaconf import MISSING

from bregbench.methods import MethodConfig
from bregbench.methods.schedules import ScheduleConfig
from bregbench.methods.thresholds import Masks
from bregbench.objectives import ObjectiveConfig


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Where one phase ends and the next begins.

    Attributes:
        phase: name of the phase that begins.
        number: which of its repetitions, from 1.
        repeat: how many there are.
        network: as the last phase left it; a transform may change it.
        method: of the last phase, with its optimiser's state; None before the first phase.
        snapshot: the network's state after an epoch of this run, 0 being its start; of the epochs
            that transforms have asked for with `rewinds`.
        example: a batch of training images, to compare outputs on.
        streams: of randomness.
    """

    phase: str
    number: int = 1
    repeat: int = 1
    network: nn.Module
    method: Method | None
    snapshot: Callable[[int], dict[str, torch.Tensor]]
    example: torch.Tensor
    streams: Streams


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What a phase begins with.

    Attributes:
        network: to be trained.
        masks: what they do not keep stays zero during the phase.
        carry: called with the new method, to take state over from the last one.
    """

    network: nn.Module
    masks: Masks = field(default_factory=dict)
    carry: Callable[[Method], None] | None = None


@dataclass
class TransformConfig:
    """What is done to the network when a phase begins."""

    kind: ClassVar[str]

    def check(self, at: str) -> None:
        """Refuse values out of range.

        Args:
            at: key of this transform, such as `phases.prune.begin`.

        Raises:
            BenchError: names the key, the value and what is allowed.
        """

    def check_order(self, phase: str, last: MethodConfig | None) -> None:
        """Refuse a place in the run that does not fit.

        Args:
            phase: name of the phase that begins.
            last: method of the phase before it; None for the first phase.
        """

    def rewinds(self) -> list[int]:
        """Epochs of the run whose weights this transform will ask for."""
        return []

    def portable(self) -> TransformConfig:
        """The same without folders of this machine, for records."""
        return self

    def begin(self, turn: Turn) -> Begun | None:
        """What the phase begins with; None where it, and its repetitions, are to be left out."""
        raise NotImplementedError


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

    def check(self, at: str) -> None:
        """Refuse values out of range.

        Args:
            at: key of this phase, such as `phases.prune`.

        Raises:
            BenchError: names the key, the value and what is allowed.
        """
        check_counts(self, at, "epochs", least=0)
        check_counts(self, at, "repeat", most=MOST_THREADS)


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
