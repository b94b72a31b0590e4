"""Phases: the consecutive parts of a run, and the transforms of the network between them."""

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
    """The state of a run between two phases.

    Attributes:
        phase: name of the phase that begins.
        number: number of its repetition, from 1.
        repeat: number of its repetitions.
        network: the network at the end of the last phase; a transform may change it.
        method: method of the last phase, with its optimiser's state; None before the first phase.
        snapshot: function that returns the network's state after an epoch of this run (0: its start), for
            epochs that a transform has named in `rewinds`.
        example: a batch of training images, on which outputs may be compared.
        streams: random streams of the run.
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
    """The network with which a phase begins.

    Attributes:
        network: the network to train.
        masks: masks by parameter name; weights that they do not keep stay zero during the phase.
        carry: function that copies state of the last method into the new method; None for no copy.
    """

    network: nn.Module
    masks: Masks = field(default_factory=dict)
    carry: Callable[[Method], None] | None = None


@dataclass
class TransformConfig:
    """Config of the transform of the network at the beginning of a phase."""

    kind: ClassVar[str]

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of this transform, such as `phases.prune.begin`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """

    def check_order(self, phase: str, last: MethodConfig | None) -> None:
        """Check that the transform can follow the phase before it.

        Args:
            phase: name of the phase that begins.
            last: method of the phase before; None for the first phase.

        Raises:
            BenchError: the transform needs another method before it.
        """

    def rewinds(self) -> list[int]:
        """Epochs of the run whose weights this transform needs."""
        return []

    def portable(self) -> TransformConfig:
        """The config without folders of this machine, for records."""
        return self

    def begin(self, turn: Turn) -> Begun | None:
        """The network and masks of the phase; None to leave out the phase and its further repetitions."""
        raise NotImplementedError


@dataclass
class PhaseConfig:
    """One part of a run.

    Attributes:
        epochs: number of epochs.
        order: position of the phase. Several phases need different numbers, because Hydra does not
            guarantee an order of merged files.
        method: training method of the phase; None for the run's `method`.
        objective: objective of the phase; None for the run's `objective`.
        schedule: learning-rate schedule of the phase; None for the run's `trainer.schedule`.
        begin: transform of the network before the phase; None for none.
        repeat: number of repetitions of the phase, each with `begin` before it; growing may stop earlier.
    """

    epochs: int = MISSING
    order: int = 0
    method: MethodConfig | None = None
    objective: ObjectiveConfig | None = None
    schedule: ScheduleConfig | None = None
    begin: TransformConfig | None = None
    repeat: int = 1

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of this phase, such as `phases.prune`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        check_counts(self, at, "epochs", least=0)
        check_counts(self, at, "repeat", most=MOST_THREADS)


@dataclass(frozen=True)
class Phase:
    """One part of a run with all options resolved.

    Repetitions share their `group`, and `number` counts them from 1 to `repeat`.
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
