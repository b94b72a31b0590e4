"""Objectives that make networks robust: CLIP, weight penalty, product of norms, adversarial training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

import clip
from bregbench.foundations.errors import BenchError
from bregbench.foundations.ranges import MOST, check_counts, check_numbers
from bregbench.objectives.base import Objective, ObjectiveConfig
from bregbench.papers.clip.pairs import AscentConfig, PairsConfig
from bregbench.papers.clip.rule import Followed, RuleConfig
from bregbench.tasks.context import RunContext
from clip.choices import Norm, Reduction


@dataclass
class RobustConfig(ObjectiveConfig):
    """An objective that `clip` evaluates; pairs, attacks and rules move once a batch."""

    whole_batch: ClassVar[bool] = True

    def build(self, network: nn.Module, context: RunContext) -> Objective:
        """See `ObjectiveConfig.build`."""
        try:
            return self.robust(network, context)
        except (ValueError, clip.BoundError) as error:
            raise BenchError(f"objective={self.kind}: {error}") from error

    def robust(self, network: nn.Module, context: RunContext) -> Objective:
        """The objective.

        Raises:
            ValueError: an option does not fit; `build` translates the error.
        """
        raise NotImplementedError


@dataclass
class Clip(RobustConfig):
    """loss + lam Lip(f; X_Lip)^power + mu |theta|: cheap Lipschitz training (CLIP paper, (5) and (6)).

    Attributes:
        lam: weight of the Lipschitz term; its first value if `rule` moves it.
        mu: weight of the norm of the weights.
        power: 1 as in the paper, 2 as in its published code.
        reduction: penalise the pair with the largest quotient, or the mean.
        rule: the rule that moves lam.
        pairs: the pair set X_Lip.
        ascent: how the pairs of X_Lip move.
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
            context.task.training_loss,
            self.pairs.build(context),
            lam=self.rule.weight(self.lam),
            mu=self.mu,
            ascent=self.ascent.build(),
            reduction=self.reduction,
            power=self.power,  # type: ignore[arg-type]
            pairs_per_step=self.pairs.per_step,
        )
        return Followed(objective, self.rule, context)


@dataclass
class WeightPenalty(RobustConfig):
    """loss + mu |theta|^power, the Euclidean norm of all weights (the paper's "Weight Reg.").

    Attributes:
        mu: weight of the penalty; its first value if `rule` moves it.
        power: 1, or 2 for the square.
        biases: whether biases and normalisation parameters are penalised, too.
        rule: the rule that moves mu.
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
        objective = clip.PenalisedLoss(network, context.task.training_loss, terms)
        return Followed(objective, self.rule, context)


@dataclass
class ProductNorm(RobustConfig):
    """loss + lam (product of layer norms)^power, the bound (4.5) of the thesis.

    Attributes:
        lam: weight of the penalty; its first value if `rule` moves it.
        power: 1, or 2 for the square.
        rule: the rule that moves lam.
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
        objective = clip.PenalisedLoss(network, context.task.training_loss, terms)
        return Followed(objective, self.rule, context)


@dataclass
class Adversarial(RobustConfig):
    """The loss at the worst points that projected gradient ascent finds around the images.

    Attributes:
        radius: radius of the ball around an image in [0, 1].
        norm: norm of the ball.
        steps: number of steps of the ascent.
        step_size: step size of the ascent; None for 2.5 radius / steps.
        share: weight of the attacked loss; 1 - share is the weight of the loss at the images themselves.
    """

    kind: ClassVar[str] = "adversarial"
    radius: float = 1.0
    norm: Norm = Norm.l2
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
            context.task.training_loss,
            radius=self.radius,
            norm=self.norm,
            steps=self.steps,
            step_size=self.step_size,
            share=self.share,
            generator=context.streams.generator("training_attack", context.device),
        )
        return Followed(objective, RuleConfig(), context)
