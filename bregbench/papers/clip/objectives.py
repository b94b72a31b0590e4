"""Objectives that make networks robust: CLIP, what it is compared with, and adversarial training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

import torch
from torch import nn

import clip
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import MOST, check_counts, check_numbers
from bregbench.objectives.base import Evaluated, Objective, ObjectiveConfig
from bregbench.papers.clip.pairs import AscentConfig, PairsConfig
from bregbench.tasks.context import RunContext


class Every(Enum):
    """When a rule looks at the accuracy."""

    epoch = "epoch"
    step = "step"


class Watched(Enum):
    """Which accuracy a rule looks at; steps know that of their own batch only."""

    train = "train"
    validation = "validation"


class Scale(Enum):
    """How a rule changes a weight."""

    additive = "additive"
    multiplicative = "multiplicative"


class Reduction(Enum):
    """Which pairs are penalised: the one with the largest quotient, or all alike."""

    best = "best"
    mean = "mean"


class Ball(Enum):
    """Norm of a perturbation."""

    l2 = "l2"
    linf = "linf"


@dataclass
class RuleConfig:
    """The discrepancy rule: a weight that rises while the accuracy is above its target, and else falls.

    Attributes:
        target: accuracy to keep, in [0, 1]; None leaves the weight at its first value.
        step: how far the weight moves.
        scale: by adding, or by multiplying with 1 + step.
        minimum: lower bound of the weight.
        maximum: upper bound; None for none.
        warmup: first so many epochs (or steps, see `every`) with weight 0.
        every: when the weight moves: after epochs or after steps.
        accuracy: which accuracy is looked at.
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
            # Without a target nothing moves the weight; the rule is there for its warm-up.
            1.0 if self.target is None else self.target,
            step=0.0 if self.target is None else self.step,
            start=start,
            minimum=self.minimum if self.target is not None else 0.0,
            maximum=math.inf if self.maximum is None else self.maximum,
            scale=self.scale.value if self.target is not None else "additive",
            warmup=self.warmup,
        )

    def check(self, at: str) -> None:
        """Refuse values out of range.

        Args:
            at: key of this rule, such as `objective.rule`.

        Raises:
            BenchError: names the key, the value and what is allowed.
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
            key: of the weight, such as `objective.lam`.
            start: its first value.

        Raises:
            BenchError: names the key, the value and what is allowed.
        """
        if self.target is None:
            return
        highest = math.inf if self.maximum is None else self.maximum
        allowed = f"in [{self.minimum}, {highest}], between minimum and maximum of its rule"
        require(self.minimum <= start <= highest, key, start, allowed)
        multiplied = self.scale is Scale.multiplicative
        allowed = "greater than 0 where its rule multiplies it"
        require(not multiplied or start > 0, key, start, allowed)


@dataclass
class RobustConfig(ObjectiveConfig):
    """An objective that `clip` evaluates."""

    def build(self, network: nn.Module, context: RunContext) -> Objective:
        """See `ObjectiveConfig.build`."""
        try:
            return self.robust(network, context)
        except (ValueError, clip.BoundError) as error:
            raise BenchError(f"objective={self.kind}: {error}") from error

    def robust(self, network: nn.Module, context: RunContext) -> Objective:
        """The objective, errors untranslated."""
        raise NotImplementedError


@dataclass
class Clip(RobustConfig):
    """loss + lam Lip(f; X_Lip)^power + mu |theta|: cheap Lipschitz training (CLIP paper, (5) and (6)).

    Attributes:
        lam: weight of the Lipschitz term, or its first value where a rule moves it.
        mu: weight of the norm of the weights.
        power: 1 as in the paper, 2 as in its published code.
        reduction: penalise the pair with the largest quotient, or the mean.
        rule: what moves lam.
        pairs: X_Lip.
        ascent: how its pairs move.
    """

    kind: ClassVar[str] = "clip"
    lam: float = 0.1
    mu: float = 0.0
    power: int = 1
    reduction: Reduction = Reduction.best
    rule: RuleConfig = field(default_factory=RuleConfig)
    pairs: PairsConfig = field(default_factory=PairsConfig)
    ascent: AscentConfig = field(default_factory=AscentConfig)

    def check(self, at: str) -> None:
        check_numbers(self, at, "lam", "mu", least=0)
        check_counts(self, at, "power", most=2)
        self.rule.check_start(f"{at}.lam", self.lam)

    def robust(self, network: nn.Module, context: RunContext) -> Objective:
        objective = clip.Clip(
            network,
            context.task.loss,
            self.pairs.build(context),
            lam=self.rule.weight(self.lam),
            mu=self.mu,
            ascent=self.ascent.build(),
            reduction=self.reduction.value,
            power=self.power,  # type: ignore[arg-type]
            pairs_per_step=self.pairs.per_step,
        )
        return _Followed(objective, self.rule, context)


@dataclass
class WeightPenalty(RobustConfig):
    """loss + mu |theta|^power, the Euclidean norm of all weights (the paper's "Weight Reg.").

    Attributes:
        mu: its weight, or the first value where a rule moves it.
        power: 1, or 2 for the square.
        biases: count biases and normalisation parameters, too.
        rule: what moves mu.
    """

    kind: ClassVar[str] = "weight_penalty"
    mu: float = 1e-4
    power: int = 2
    biases: bool = False
    rule: RuleConfig = field(default_factory=lambda: RuleConfig(step=1e-4))

    def check(self, at: str) -> None:
        check_numbers(self, at, "mu", least=0)
        check_counts(self, at, "power", most=2)
        self.rule.check_start(f"{at}.mu", self.mu)

    def robust(self, network: nn.Module, context: RunContext) -> Objective:
        penalty = clip.WeightPenalty(network, power=self.power, biases=self.biases)  # type: ignore[arg-type]
        terms: dict[str, Any] = {"mu": (penalty, self.rule.weight(self.mu))}
        objective = clip.PenalisedLoss(network, context.task.loss, terms)
        return _Followed(objective, self.rule, context)


@dataclass
class ProductNorm(RobustConfig):
    """loss + lam (product of layer norms)^power, the bound (4.5) of the thesis.

    Attributes:
        lam: its weight, or the first value where a rule moves it.
        power: 1, or 2 for the square.
        rule: what moves lam.
    """

    kind: ClassVar[str] = "product_norm"
    lam: float = 1e-3
    power: int = 1
    rule: RuleConfig = field(default_factory=lambda: RuleConfig(step=1e-3))

    def check(self, at: str) -> None:
        check_numbers(self, at, "lam", least=0)
        check_counts(self, at, "power", most=2)
        self.rule.check_start(f"{at}.lam", self.lam)

    def robust(self, network: nn.Module, context: RunContext) -> Objective:
        penalty = clip.ProductNorm(network, context.data.input_shape, power=self.power)  # type: ignore[arg-type]
        terms: dict[str, Any] = {"lam": (penalty, self.rule.weight(self.lam))}
        objective = clip.PenalisedLoss(network, context.task.loss, terms)
        return _Followed(objective, self.rule, context)


@dataclass
class Adversarial(RobustConfig):
    """The loss at the worst points that projected gradient ascent finds around the images.

    Attributes:
        radius: of the ball, images being in [0, 1].
        norm: of the ball.
        steps: of the ascent.
        step_size: None for 2.5 radius / steps.
        share: of the attacked loss; the rest is the loss at the images themselves.
    """

    kind: ClassVar[str] = "adversarial"
    radius: float = 1.0
    norm: Ball = Ball.l2
    steps: int = 10
    step_size: float | None = None
    share: float = 1.0

    def check(self, at: str) -> None:
        check_numbers(self, at, "radius", least=0)
        check_counts(self, at, "steps", most=MOST)
        check_numbers(self, at, "step_size", above=0)
        check_numbers(self, at, "share", above=0, most=1)

    def robust(self, network: nn.Module, context: RunContext) -> Objective:
        objective = clip.AdversarialTraining(
            network,
            context.task.loss,
            radius=self.radius,
            norm=self.norm.value,
            steps=self.steps,
            step_size=self.step_size,
            share=self.share,
            generator=context.streams.generator("training_attack", context.device),
        )
        return _Followed(objective, RuleConfig(), context)


class _Followed(Objective):
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
                    f"objective.rule.every=step looks at the accuracy, which task={self._task.kind} has "
                    "not: use task=classification, or leave objective.rule.target and warmup out"
                )
            self._objective.update(scores["accuracy"] / len(targets))
        return Evaluated(*found)

    def end_epoch(self, metrics: dict[str, float]) -> dict[str, float]:
        """`objective/lam`, `objective/mu` as used in the epoch, and `objective/lipschitz`.

        `objective/weight` is the first of the weights, whatever the objective calls it.
        """
        weights = self._objective.weights()
        used = {f"objective/{name}": weight for name, weight in weights.items()}
        if weights:
            used["objective/weight"] = next(iter(weights.values()))
        if isinstance(self._objective, clip.Clip):
            used["objective/lipschitz"] = float(self._objective.pairs.estimate())
        if self._rule.every is Every.epoch and self._moves:
            watched = f"{self._rule.accuracy.value}/accuracy"
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
