"""Learning-rate schedules: a factor of every learning rate, updated after each epoch.

The schedules are torch's. Each runs on a dummy optimiser with learning rate 1, so that its factor serves
all kinds of learning rates: those of an optimiser and the step sizes of a lifted solver.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch.optim import lr_scheduler

from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import check_counts, check_numbers
from bregbench.tasks.base import larger_is_better


class Schedule:
    """A running schedule; `factor` is what learning rates are multiplied by now.

    Args:
        config: which one.
        epochs: of the phase.
        warmup: in the first so many epochs the factor of the rule is multiplied with 1 / (warmup + 1),
            2 / (warmup + 1) and so on.
    """

    def __init__(self, config: ScheduleConfig, epochs: int, *, warmup: int = 0) -> None:
        self._warmup, self._epoch = warmup, 0
        self._optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        self._metric = config.metric if isinstance(config, Plateau) else None
        self._scheduler = config.rule(self._optimizer, epochs)

    @property
    def factor(self) -> float:
        """The present factor, 1 at the start where nothing warms up."""
        return min(1.0, (self._epoch + 1) / (self._warmup + 1)) * self._rule_factor

    @property
    def _rule_factor(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])

    def end_epoch(self, metrics: dict[str, float]) -> None:
        """Move on by one epoch; a plateau schedule reads its metric from `metrics`.

        Raises:
            BenchError: the metric was not measured.
        """
        self._epoch += 1
        # torch warns when a scheduler moves before its optimiser; the stand-in has no gradients.
        self._optimizer.step()
        if isinstance(self._scheduler, lr_scheduler.ReduceLROnPlateau):
            if self._metric not in metrics:
                raise _not_measured(self._metric, metrics)
            self._scheduler.step(metrics[self._metric])
        else:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """State of the rule and the present factor."""
        state = {"scheduler": self._scheduler.state_dict(), "factor": self._rule_factor}
        return state | {"epoch": self._epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._scheduler.load_state_dict(state["scheduler"])
        self._optimizer.param_groups[0]["lr"] = state["factor"]
        self._epoch = state.get("epoch", self._warmup)


def _not_measured(metric: str | None, known: Collection[str]) -> BenchError:
    return BenchError(
        f"trainer.schedule.metric={metric} is not measured: choose one of {', '.join(sorted(known))}"
    )


@dataclass
class ScheduleConfig:
    """Config of the schedule of a phase."""

    def build(self, epochs: int, *, warmup: int = 0) -> Schedule:
        """A schedule over a phase of so many epochs, the first `warmup` of them with smaller rates."""
        return Schedule(self, epochs, warmup=warmup)

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of this schedule, such as `trainer.schedule` or `phases.dense.schedule`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """

    def check_measured(self, initial: Collection[str]) -> None:
        """Raise BenchError if a schedule needs a metric that is never measured.

        Args:
            initial: names of the metrics that were measured before the first step.

        Raises:
            BenchError: the metric is not among them and cannot be measured later.
        """

    def rule(self, optimizer: torch.optim.Optimizer, epochs: int) -> lr_scheduler.LRScheduler:
        """The scheduler of torch for `optimizer`."""
        raise NotImplementedError


@dataclass
class Constant(ScheduleConfig):
    """A constant learning rate, `factor` times the configured one."""

    kind: ClassVar[str] = "constant"
    factor: float = 1.0

    def check(self, at: str) -> None:
        check_numbers(self, at, "factor", above=0)

    def rule(self, optimizer: torch.optim.Optimizer, epochs: int) -> lr_scheduler.LRScheduler:
        return lr_scheduler.LambdaLR(optimizer, lambda epoch: self.factor)


@dataclass
class Step(ScheduleConfig):
    """Multiply by `factor` after each of the given epochs."""

    kind: ClassVar[str] = "step"
    milestones: list[int] = field(default_factory=lambda: [50, 75])
    factor: float = 0.1

    def check(self, at: str) -> None:
        check_numbers(self, at, "factor", above=0)
        ordered = all(m > 0 for m in self.milestones) and sorted(self.milestones) == self.milestones
        require(ordered, f"{at}.milestones", self.milestones, "rising positive epochs")

    def rule(self, optimizer: torch.optim.Optimizer, epochs: int) -> lr_scheduler.LRScheduler:
        return lr_scheduler.MultiStepLR(optimizer, self.milestones, self.factor)


@dataclass
class Cosine(ScheduleConfig):
    """Half a cosine from 1 down to `final` at the end of the phase."""

    kind: ClassVar[str] = "cosine"
    final: float = 0.0

    def check(self, at: str) -> None:
        check_numbers(self, at, "final", least=0, most=1)

    def rule(self, optimizer: torch.optim.Optimizer, epochs: int) -> lr_scheduler.LRScheduler:
        return lr_scheduler.CosineAnnealingLR(optimizer, max(epochs, 1), self.final)


@dataclass
class Triangular(ScheduleConfig):
    """Up from `start` to 1 in a straight line, and down to `final` in another one.

    An epoch has the factor of its middle; `peak` is the share of the phase after which the factor is 1.
    """

    kind: ClassVar[str] = "triangular"
    peak: float = 0.2
    start: float = 0.2
    final: float = 0.0

    def check(self, at: str) -> None:
        check_numbers(self, at, "peak", "start", "final", least=0, most=1)

    def rule(self, optimizer: torch.optim.Optimizer, epochs: int) -> lr_scheduler.LRScheduler:
        return lr_scheduler.LambdaLR(
            optimizer, lambda epoch: self._factor((epoch + 0.5) / max(epochs, 1))
        )

    def _factor(self, done: float) -> float:
        if done < self.peak:
            return self.start + (1 - self.start) * done / self.peak
        left = (1 - min(done, 1.0)) / (1 - self.peak) if self.peak < 1 else 1.0
        return self.final + (1 - self.final) * left


@dataclass
class Plateau(ScheduleConfig):
    """Multiply by `factor` when `metric` has not improved for `patience` epochs.

    Scores (`tasks.base.LARGER_IS_BETTER`) improve when they grow, other metrics when they fall. The
    Bregman paper names the validation accuracy, whereas its published code watches the training loss.
    `threshold` is the smallest relative improvement that counts.
    """

    kind: ClassVar[str] = "plateau"
    metric: str = "train/loss"
    factor: float = 0.5
    patience: int = 5
    threshold: float = 0.01

    def check(self, at: str) -> None:
        check_numbers(self, at, "factor", above=0, below=1)
        check_counts(self, at, "patience", least=0)
        check_numbers(self, at, "threshold", least=0)

    def check_measured(self, initial: Collection[str]) -> None:
        # Training scores and metrics of methods are known after an epoch only.
        if self.metric.startswith(("validation/", "test/")) and self.metric not in initial:
            raise _not_measured(self.metric, {"train/loss", *initial})

    def rule(self, optimizer: torch.optim.Optimizer, epochs: int) -> lr_scheduler.LRScheduler:
        mode = "max" if larger_is_better(self.metric) else "min"
        return lr_scheduler.ReduceLROnPlateau(
            optimizer, mode, self.factor, self.patience, self.threshold
        )
