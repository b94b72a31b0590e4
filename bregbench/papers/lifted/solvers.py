"""The solvers of `lifted` as config group `method/solver`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

import torch
from torch import nn

import bregman
import lifted
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import MOST, check_counts, check_numbers
from bregbench.objectives.penalty import PenaltyConfig
from bregbench.papers.lifted.solver import (
    ProximalConfig,
    require_full_batch,
)
from bregbench.tasks.context import RunContext
from lifted.choices import (
    Acceleration,
    Blocks,
    Explicit,
    Inner,
    Order,
    Sweep,
)
from lifted.solver import Solver


class ParameterOptimizer(StrEnum):
    """Optimisers for explicit parameter steps; `none` is a gradient step with a step size that is stable."""

    none = "none"
    sgd = "sgd"
    prox_sgd = "prox_sgd"
    linbreg = "linbreg"
    adabreg = "adabreg"


@dataclass
class Implicit(ProximalConfig):
    """Implicit stochastic steps, Algorithm 1 and (24); the paper's LBN-D if a batch has all images."""

    kind: ClassVar[str] = "implicit"
    order: Order = Order.alternating
    iterations: int = 15

    def check(self, at: str) -> None:
        super().check(at)
        check_counts(self, at, "iterations", most=MOST)

    def build(
        self, network: lifted.LiftedNetwork, original: nn.Module, context: RunContext
    ) -> Solver:
        return lifted.ImplicitStochastic(
            network,
            rho=self.weight(context),
            iterations=self.iterations,
            order=self.order,
            step_scale=self.step_scale,
            x_step=self.x_step,
        )


@dataclass
class ExplicitImplicit(ProximalConfig):
    """Explicit steps in one group of variables, implicit steps in the other group (end of 4.2.3).

    Attributes:
        explicit: the group with explicit steps.
        iterations: number of implicit steps per batch.
        optimizer: optimiser for explicit parameter steps; `linbreg` regularises iteratively (4.1.2).
        optimizer_steps: number of steps of the optimiser per batch.
        lr: learning rate of the optimiser.
        lam: weight of the optimiser's penalty.
        penalty: penalty of the optimiser, with the weights that it concerns.
    """

    kind: ClassVar[str] = "explicit_implicit"
    explicit: Explicit = Explicit.parameters
    iterations: int = 15
    optimizer: ParameterOptimizer = ParameterOptimizer.none
    optimizer_steps: int = 1
    lr: float = 0.1
    lam: float = 0.0
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)

    def check(self, at: str) -> None:
        super().check(at)
        check_counts(self, at, "iterations", "optimizer_steps", most=MOST)
        check_numbers(self, at, "lr", "lam", least=0)
        if self.optimizer is ParameterOptimizer.none:
            if self.lam:
                raise BenchError(
                    f"{at}.lam={self.lam} has no meaning without an optimiser: choose "
                    f"{at}.optimizer=linbreg or prox_sgd"
                )
            return
        for key in ("rho", "tau"):
            if getattr(self, key) is not None:
                raise BenchError(
                    f"{at}.{key}={getattr(self, key)} has no meaning with an optimiser, whose "
                    f"learning rate is {at}.lr: leave it out"
                )
        if self.optimizer is ParameterOptimizer.sgd:
            require(not self.lam, f"{at}.lam", self.lam, "0 for sgd, which has no penalty")

    def build(
        self, network: lifted.LiftedNetwork, original: nn.Module, context: RunContext
    ) -> Solver:
        return lifted.ExplicitImplicit(
            network,
            explicit=self.explicit,
            optimizer=self._optimizer(original),
            optimizer_steps=self.optimizer_steps,
            rho=self.weight(context),
            iterations=self.iterations,
            step_scale=self.step_scale,
            x_step=self.x_step,
        )

    def rates(self, context: RunContext) -> tuple[str, float]:
        if self.optimizer is ParameterOptimizer.none:
            return super().rates(context)
        return "lr", self.lr

    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer | None:
        if self.optimizer is ParameterOptimizer.none:
            return None
        if self.optimizer is ParameterOptimizer.sgd:
            return torch.optim.SGD(network.parameters(), lr=self.lr)
        kinds = {
            ParameterOptimizer.prox_sgd: bregman.ProxSGD,
            ParameterOptimizer.linbreg: bregman.LinBreg,
            ParameterOptimizer.adabreg: bregman.AdaBreg,
        }
        return kinds[self.optimizer](self.penalty.groups(network, self.lam), lr=self.lr)


@dataclass
class StoredStochastic(ProximalConfig):
    """Stochastic steps that store the auxiliary variables of every training image between batches (19).

    Attributes:
        iterations: updates per batch.
        sweep: Jacobi as printed, or Gauss-Seidel.
    """

    kind: ClassVar[str] = "stored_stochastic"
    step_scale: float = 1.0
    iterations: int = 1
    sweep: Sweep = Sweep.jacobi

    def check(self, at: str) -> None:
        super().check(at)
        check_counts(self, at, "iterations", most=MOST)

    def build(
        self, network: lifted.LiftedNetwork, original: nn.Module, context: RunContext
    ) -> Solver:
        return lifted.StoredStochastic(
            network,
            samples=len(context.data.train),
            rho=self.weight(context),
            iterations=self.iterations,
            sweep=self.sweep,
            step_scale=self.step_scale,
            x_step=self.x_step,
        )


@dataclass
class ProximalGradient(ProximalConfig):
    """Deterministic proximal gradient descent (17); one step sees all training images.

    Attributes:
        sweep: Gauss-Seidel, or Jacobi as printed.
        acceleration: none, Nesterov or heavy-ball.
        momentum: momentum of heavy-ball.
    """

    kind: ClassVar[str] = "proximal_gradient"
    own_rho: ClassVar[float] = 0.0
    step_scale: float = 1.0
    sweep: Sweep = Sweep.gauss_seidel
    acceleration: Acceleration = Acceleration.none
    momentum: float = 0.5

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "momentum", least=0, below=1)

    def build(
        self, network: lifted.LiftedNetwork, original: nn.Module, context: RunContext
    ) -> Solver:
        require_full_batch(self.kind, context)
        return lifted.ProximalGradient(
            network,
            sweep=self.sweep,
            acceleration=self.acceleration,
            momentum=self.momentum,
            step_scale=self.step_scale,
            rho=self.weight(context),
            x_step=self.x_step,
        )


@dataclass
class BlockCoordinate(ProximalConfig):
    """Block coordinate descent, (35), (36) or (38); one step sees all training images.

    Attributes:
        parameter_steps: iterations on the parameter block.
        auxiliary_steps: iterations on each block of auxiliary variables.
        blocks: whether a block has all odd or all even layers, or a single layer.
        inner: solver of each block: proximal gradient steps, or ADMM (B.2).
        delta: penalty weight delta of ADMM.
    """

    kind: ClassVar[str] = "block_coordinate"
    own_rho: ClassVar[float] = 0.0
    step_scale: float = 1.0
    parameter_steps: int = 15
    auxiliary_steps: int = 15
    blocks: Blocks = Blocks.odd_even
    inner: Inner = Inner.gradient
    delta: float = 1.0

    def check(self, at: str) -> None:
        super().check(at)
        check_counts(self, at, "parameter_steps", "auxiliary_steps", most=MOST)
        check_numbers(self, at, "delta", above=0)

    def build(
        self, network: lifted.LiftedNetwork, original: nn.Module, context: RunContext
    ) -> Solver:
        require_full_batch(self.kind, context)
        return lifted.BlockCoordinate(
            network,
            parameter_steps=self.parameter_steps,
            auxiliary_steps=self.auxiliary_steps,
            blocks=self.blocks,
            inner=self.inner,
            delta=self.delta,
            rho=self.weight(context),
            step_scale=self.step_scale,
            x_step=self.x_step,
        )
