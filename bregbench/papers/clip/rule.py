"""The discrepancy rule of CLIP, and objectives whose weights follow it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch

import clip
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import check_counts, check_numbers
from bregbench.objectives.base import Evaluated, Objective
from bregbench.tasks.context import RunContext
from clip.choices import Scale


class Every(StrEnum):
    """When a rule reads the accuracy."""

    epoch = "epoch"
    step = "step"


class Watched(StrEnum):
    """Which accuracy a rule reads; after a step only the accuracy of its batch is known."""

    train = "train"
    validation = "validation"


@dataclass
class RuleConfig:
    """The discrepancy rule: a weight rises while the accuracy is above its target, and falls otherwise.

    Attributes:
        target: accuracy to keep, in [0, 1]; None leaves the weight at its first value.
        step: size of a move of the weight.
        scale: whether a move adds `step`, or multiplies by 1 + step.
        minimum: lower bound of the weight.
        maximum: upper bound of the weight; None for none.
        warmup: number of first epochs (or steps, see `every`) with weight 0.
        every: when the weight moves: after epochs or after steps.
        accuracy: which accuracy the rule reads.
    """

    target: float | None = None
    step: float = 0.1
    scale: Scale = Scale.additive
    minimum: float = 0.0
    maximum: float | None = None
    warmup: int = 0
    every: Every = Every.epoch
    accuracy: Watched = Watched.train

    def weight(self, start: float) -> float | clip.Discrepancy:
        """The weight as `clip` takes it: a number, or the rule.

        Raises:
            ValueError: a value is out of range.
        """
        if self.target is None and self.warmup == 0:
            return start
        return clip.Discrepancy(
            # Without a target the rule only serves the warm-up and never moves the weight.
            1.0 if self.target is None else self.target,
            step=0.0 if self.target is None else self.step,
            start=start,
            minimum=self.minimum if self.target is not None else 0.0,
            maximum=math.inf if self.maximum is None else self.maximum,
            scale=self.scale if self.target is not None else "additive",
            warmup=self.warmup,
        )

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of this rule, such as `objective.rule`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        check_numbers(self, at, "target", least=0, most=1)
        check_numbers(self, at, "step", "minimum", "maximum", least=0)
        check_counts(self, at, "warmup", least=0)
        ordered = self.maximum is None or self.minimum <= self.maximum
        allowed = f"at least {at}.minimum={self.minimum}"
        require(ordered, f"{at}.maximum", self.maximum, allowed)
        per_step = self.every is Every.step
        require(
            not (per_step and self.accuracy is Watched.validation),
            f"{at}.accuracy",
            self.accuracy.name,
            f"train where {at}.every=step",
        )

    def check_start(self, key: str, start: float) -> None:
        """Refuse a first value that this rule cannot move.

        Args:
            key: key of the weight, such as `objective.lam`.
            start: first value of the weight.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        if self.target is None:
            return
        highest = math.inf if self.maximum is None else self.maximum
        allowed = f"in [{self.minimum}, {highest}], between minimum and maximum of its rule"
        require(self.minimum <= start <= highest, key, start, allowed)
        multiplied = self.scale is Scale.multiplicative
        allowed = "greater than 0 where its rule multiplies it"
        require(not multiplied or start > 0, key, start, allowed)


class Followed(Objective):
    """An objective of `clip` that follows the run: its rule sees accuracies, its weights are logged."""

    def __init__(
        self,
        objective: clip.PenalisedLoss | clip.AdversarialTraining,
        rule: RuleConfig,
        context: RunContext,
    ) -> None:
        self._objective = objective
        self._rule = rule
        self._task = context.task

    def __call__(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        inputs: torch.Tensor,
        targets: torch.Tensor,
    ) -> Evaluated:
        found = self._objective(inputs, targets, forward=forward)
        if self._rule.every is Every.step and self._moves:
            scores = self._task.scores(found.outputs, targets)
            if "accuracy" not in scores:
                raise BenchError(
                    f"objective.rule.every=step reads the accuracy, which task={self._task.kind} does "
                    "not have: use task=classification, or leave objective.rule.target and warmup out"
                )
            self._objective.update(scores["accuracy"] / len(targets))
        return Evaluated(*found)

    def end_epoch(self, metrics: dict[str, float]) -> dict[str, float]:
        """`objective/lam`, `objective/mu` as used in the epoch, and `objective/lipschitz`.

        `objective/weight` is the first weight of any objective.
        """
        weights = self._objective.weights()
        used = {f"objective/{name}": weight for name, weight in weights.items()}
        if weights:
            used["objective/weight"] = next(iter(weights.values()))
        if isinstance(self._objective, clip.Clip):
            used["objective/lipschitz"] = float(self._objective.pairs.estimate())
        if self._rule.every is Every.epoch and self._moves:
            watched = f"{self._rule.accuracy}/accuracy"
            if watched not in metrics:
                raise BenchError(
                    f"objective.rule.accuracy={self._rule.accuracy.name} is not measured in this "
                    "run: use task=classification, and data.validation for validation images"
                )
            self._objective.update(metrics[watched])
        self._objective.end_epoch()
        return used

    @property
    def _moves(self) -> bool:
        return self._rule.target is not None or self._rule.warmup > 0

    def state_dict(self) -> dict[str, Any]:
        return self._objective.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._objective.load_state_dict(state)
