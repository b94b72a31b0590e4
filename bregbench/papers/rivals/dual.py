"""The dual family on the bench: RDA, PAT, gRDA, RMDA, RAMDA and xRDA, optimisers of `bregman`."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

import bregman
from bregbench.foundations.errors import BenchError
from bregbench.foundations.ranges import check_numbers
from bregbench.measures import density
from bregbench.methods.backprop import Backprop
from bregbench.methods.optimizer import PenalizedConfig
from bregbench.objectives import ObjectiveConfig
from bregbench.tasks.context import RunContext


@dataclass
class Rda(PenalizedConfig):
    """Regularised dual averaging (Xiao, 2010): LinBreg with a threshold lam times the sum of rates.

    Attributes:
        momentum: of Algorithm 2 of the Bregman paper.
        weight_decay: decoupled.
    """

    kind: ClassVar[str] = "rda"
    lam: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "momentum", least=0, below=1)
        check_numbers(self, at, "weight_decay", least=0)

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return bregman.LinBreg(
            self.penalty.groups(network, self.lam),
            self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            threshold="cumulative",
        )


@dataclass
class Pat(PenalizedConfig):
    """RDA with Adam's steps: what torchao's PAT makes of Adam."""

    kind: ClassVar[str] = "pat"
    lr: float = 1e-3
    lam: float = 1e-1
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "beta1", "beta2", least=0, below=1)
        check_numbers(self, at, "eps", "weight_decay", least=0)

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return bregman.AdaBreg(
            self.penalty.groups(network, self.lam),
            self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            threshold="cumulative",
        )


@dataclass
class Grda(PenalizedConfig):
    """gRDA (Chao et al., 2020): the threshold grows like lam lr^(1/2 + mu) t^mu.

    Attributes:
        lam: the paper's c.
        mu: in (0.5, 0.7] in the paper.
        everything: also on biases and norm layers, as in the public runs.
    """

    kind: ClassVar[str] = "grda"
    lam: float = 1e-3
    mu: float = 0.6
    everything: bool = False

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "mu", least=0, below=1)

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        groups = self.penalty.groups(network, self.lam)
        if self.everything:
            whole = {"penalty": "l1", "lam": self.lam, "lam_scale": 1.0}
            groups = [g | whole if g["penalty"] == "none" else g for g in groups]
        return bregman.LinBreg(groups, self.lr, threshold="power", mu=self.mu)


@dataclass
class Rmda(PenalizedConfig):
    """RMDA (Huang, Lee 2022): dual averaging whose iterates average proximal points.

    When the schedule changes the learning rate the method restarts from the present weights, so
    schedules with few steps (`trainer/schedule=step`) suit it, and a cosine does not.

    Attributes:
        averaging: share c of the proximal point in a step; 0.01 in the paper, 0.1 in that of 2024.
        growth: c is multiplied with it at each restart, up to 1.
        weight_decay: in the gradient.
    """

    kind: ClassVar[str] = "rmda"
    restarts: ClassVar[bool] = True
    variants: ClassVar[tuple[str, ...]] = (*PenalizedConfig.variants, "proximal")
    lam: float = 1e-3
    averaging: float = 0.1
    growth: float = 10.0
    weight_decay: float = 0.0

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "averaging", above=0, most=1)
        check_numbers(self, at, "growth", least=1)
        check_numbers(self, at, "weight_decay", least=0)

    def build(
        self, network: nn.Module, objective: ObjectiveConfig, context: RunContext
    ) -> AveragedTraining:
        """See `OptimizerConfig.build`."""
        try:
            optimizer = self.optimizer(network, context)
        except ValueError as error:
            raise BenchError(f"method={self.kind}: {error}") from error
        return AveragedTraining(
            network,
            optimizer,
            objective.build(network, context),
            context,
            density_target=self.density_target(optimizer, context),
            healing=self.healed(optimizer, context),
            cut=self.cut,
            recalibrate=self.recalibrate,
            growth=self.growth,
        )

    def optimizer(self, network: nn.Module, context: RunContext) -> bregman.RMDA:
        groups = self.penalty.groups(network, self.lam)
        return bregman.RMDA(
            groups, self.lr, averaging=self.averaging, weight_decay=self.weight_decay
        )


@dataclass
class Ramda(Rmda):
    """RAMDA (Hsieh et al., 2024): RMDA in a diagonal metric from the gradients.

    Attributes:
        eps: added to the cube root of the metric.
    """

    kind: ClassVar[str] = "ramda"
    lr: float = 1e-2
    averaging: float = 1e-2
    eps: float = 1e-6

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "eps", above=0)

    def optimizer(self, network: nn.Module, context: RunContext) -> bregman.RAMDA:
        return bregman.RAMDA(
            self.penalty.groups(network, self.lam),
            self.lr,
            averaging=self.averaging,
            eps=self.eps,
            weight_decay=self.weight_decay,
        )


class AveragedTraining(Backprop):
    """Back-propagation with RMDA or RAMDA: restarts, and the proximal points as a variant.

    Attributes:
        last_only: the variant that rests on the optimiser's state.
    """

    last_only: ClassVar[frozenset[str]] = frozenset({"proximal"})

    def __init__(self, *arguments: Any, growth: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._growth = growth
        self._factor = 1.0

    @property
    def _averaged(self) -> bregman.RMDA:
        assert isinstance(self.optimizer, bregman.RMDA)
        return self.optimizer

    def scale_lr(self, factor: float) -> None:
        """See `Backprop.scale_lr`; a new factor is a milestone, where the method restarts."""
        super().scale_lr(factor)
        if factor != self._factor:
            share = self._averaged.param_groups[0]["averaging"]
            self._averaged.restart(averaging=min(1.0, share * self._growth))
            self._factor = factor

    def end_epoch(self, metrics: dict[str, float]) -> dict[str, float]:
        """Also the density of the proximal points, which hold the exact zeros."""
        found = super().end_epoch(metrics)
        total = density(self._proximal()).get("density/total")
        return found if total is None else found | {"proximal_density/total": total}

    def variants(self) -> dict[str, nn.Module]:
        """Also `proximal`: the network with the proximal points for its weights."""
        return super().variants() | {"proximal": self.recalibrated(self._proximal())}

    @torch.no_grad()
    def _proximal(self) -> nn.Module:
        points = self._averaged.proximal_points()
        twin = copy.deepcopy(self.network)
        for ours, other in zip(self.network.parameters(), twin.parameters(), strict=True):
            other.copy_(points[ours])
        return twin

    def state_dict(self) -> dict[str, Any]:
        """Also the factor that the method has restarted at."""
        return super().state_dict() | {"factor": self._factor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        super().load_state_dict(state)
        self._factor = state["factor"]


@dataclass
class Xrda(PenalizedConfig):
    """xRDA (Siegel et al., 2020): weight-wise thresholds, from proximal SGD to dual averaging.

    It has a cosine of its own for its rate, over the whole phase, which a schedule would multiply.

    Attributes:
        time_scale: of its running means.
        boost: how much lower the threshold of the largest weight is than that of a zero.
        weight_decay: in the gradient.
    """

    kind: ClassVar[str] = "xrda"
    lr: float = 1.0
    lam: float = 1e-6
    time_scale: float = 9.5
    boost: float = 500.0
    weight_decay: float = 5e-4

    def paced(self) -> str | None:
        return super().paced() or "lr"

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "time_scale", above=0)
        check_numbers(self, at, "boost", least=1)
        check_numbers(self, at, "weight_decay", least=0)

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return bregman.XRDA(
            self.penalty.groups(network, self.lam),
            self.lr,
            steps=max(context.epochs * context.steps_per_epoch, 1),
            time_scale=self.time_scale,
            boost=self.boost,
            weight_decay=self.weight_decay,
        )
