"""The solvers of `lifted` as config group `method/solver`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

import torch
from torch import nn

import bregman
import lifted
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import MOST, check_counts, check_numbers
from bregbench.objectives.penalty import PenaltyConfig
from bregbench.tasks.context import RunContext
from lifted.solver import Solver
from lifted.stored import FullBatchSolver


class Convention(Enum):
    """What the paper's tau^k means: `lifted.paper_rho`."""

    sum = "sum"
    literal = "literal"
    reciprocal = "reciprocal"


class Order(Enum):
    """Order of an implicit step: Algorithm 1 as printed, sweeps, or all of X and then all of Theta."""

    layer = "layer"
    sweep = "sweep"
    alternating = "alternating"


class XStep(Enum):
    """Step in auxiliary variables: proximal (17b), mirror, or proximal where that is a formula."""

    auto = "auto"
    prox = "prox"
    mirror = "mirror"


class Sweep(Enum):
    """Whether blocks see each other's new values at once."""

    jacobi = "jacobi"
    gauss_seidel = "gauss_seidel"


class Explicit(Enum):
    """The group of variables that takes a single explicit step."""

    parameters = "parameters"
    auxiliary = "auxiliary"


class ParameterOptimizer(Enum):
    """What takes explicit parameter steps; `none` is a gradient step of the safe length."""

    none = "none"
    sgd = "sgd"
    prox_sgd = "prox_sgd"
    linbreg = "linbreg"
    adabreg = "adabreg"


class Acceleration(Enum):
    """Inertia of deterministic proximal gradient descent."""

    none = "none"
    nesterov = "nesterov"
    heavy_ball = "heavy_ball"


class Blocks(Enum):
    """Blocks of auxiliary variables: odd and even layers (36), or one layer each (35)."""

    odd_even = "odd_even"
    each = "each"


class Inner(Enum):
    """What solves a block."""

    gradient = "gradient"
    admm = "admm"


class Reduction(Enum):
    """Whether back-propagation's loss is the mean or the sum over the batch."""

    mean = "mean"
    sum = "sum"


@dataclass
class SolverConfig:
    """Which solver trains a lifted network."""

    kind: ClassVar[str]

    def check(self, at: str) -> None:
        """Refuse values out of range.

        Args:
            at: key of this solver, such as `method.solver`.

        Raises:
            BenchError: names the key, the value and what is allowed.
        """

    def build(
        self, network: lifted.LiftedNetwork, original: nn.Module, context: RunContext
    ) -> Solver:
        """The solver at work on this network.

        Args:
            network: what is trained.
            original: the network of the bench that shares its parameters.
            context: batch size, training images.

        Raises:
            BenchError: another option does not fit.
            ValueError: the network does not fit.
        """
        raise NotImplementedError

    def rates(self, context: RunContext) -> tuple[str, float]:
        """The name and configured value of what a learning rate schedule acts on."""
        raise NotImplementedError


@dataclass
class ProximalConfig(SolverConfig):
    """A solver with a proximal weight: rho/2 |Theta - Theta^k|^2 next to a mean over samples.

    Attributes:
        rho: that weight; null for the solver's own, or for what `tau` says.
        tau: the paper's tau^k instead.
        tau_convention: what the paper's tau^k means.
        step_scale: steps in units of 1 / (Lipschitz constant), below 2.
        x_step: how auxiliary variables move.
    """

    own_rho: ClassVar[float] = 1.0

    rho: float | None = None
    tau: float | None = None
    tau_convention: Convention = Convention.sum
    step_scale: float = 1.9
    x_step: XStep = XStep.auto

    def check(self, at: str) -> None:
        _check_weight(self, at)
        check_numbers(self, at, "step_scale", above=0, below=2)

    def weight(self, context: RunContext) -> float:
        """rho, whichever way it is given."""
        if self.tau is None:
            return self.own_rho if self.rho is None else self.rho
        convention = self.tau_convention.value
        return lifted.paper_rho(self.tau, context.batch_size, convention=convention)

    def rates(self, context: RunContext) -> tuple[str, float]:
        return "rho", self.weight(context)


@dataclass
class Implicit(ProximalConfig):
    """Implicit stochastic steps, Algorithm 1 and (24); with all images in a batch its LBN-D."""

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
            order=self.order.value,
            step_scale=self.step_scale,
            x_step=self.x_step.value,
        )


@dataclass
class ExplicitImplicit(ProximalConfig):
    """One explicit step in one group of variables, implicit ones in the other (end of 4.2.3).

    Attributes:
        explicit: which group is explicit.
        iterations: steps in the other one.
        optimizer: what takes explicit parameter steps; `linbreg` regularises iteratively (4.1.2).
        optimizer_steps: its steps per batch.
        lr: its learning rate.
        lam: strength of its penalty.
        penalty: its penalty, on which weights.
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
            explicit=self.explicit.value,
            optimizer=self._optimizer(original),
            optimizer_steps=self.optimizer_steps,
            rho=self.weight(context),
            iterations=self.iterations,
            step_scale=self.step_scale,
            x_step=self.x_step.value,
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
    """Auxiliary variables of every training image are kept and move when it is drawn (19).

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
            sweep=self.sweep.value,
            step_scale=self.step_scale,
            x_step=self.x_step.value,
        )


@dataclass
class ProximalGradient(ProximalConfig):
    """Deterministic proximal gradient descent (17); one step sees all training images.

    Attributes:
        sweep: Gauss-Seidel, or Jacobi as printed.
        acceleration: none, Nesterov or heavy-ball.
        momentum: of heavy-ball.
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
        _require_full_batch(self.kind, context)
        return lifted.ProximalGradient(
            network,
            sweep=self.sweep.value,
            acceleration=self.acceleration.value,
            momentum=self.momentum,
            step_scale=self.step_scale,
            rho=self.weight(context),
            x_step=self.x_step.value,
        )


@dataclass
class BlockCoordinate(ProximalConfig):
    """Block coordinate descent, (35), (36) or (38); one step sees all training images.

    Attributes:
        parameter_steps: iterations on the parameter block.
        auxiliary_steps: iterations on each block of auxiliary variables.
        blocks: odd and even layers, or each alone.
        inner: proximal gradient steps, or ADMM (B.2).
        delta: ADMM's weight.
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
        _require_full_batch(self.kind, context)
        return lifted.BlockCoordinate(
            network,
            parameter_steps=self.parameter_steps,
            auxiliary_steps=self.auxiliary_steps,
            blocks=self.blocks.value,
            inner=self.inner.value,
            delta=self.delta,
            rho=self.weight(context),
            step_scale=self.step_scale,
            x_step=self.x_step.value,
        )


@dataclass
class BackPropagation(SolverConfig):
    """The baselines SGD-BP (20), with all images in a batch GD-BP (3), with iterations ISGD-BP (22).

    Attributes:
        lr: learning rate.
        iterations: gradient steps per batch.
        rho: proximal weight of ISGD-BP, next to a mean.
        tau: the paper's tau^k instead.
        tau_convention: what it means.
        reduction: the loss of a batch is a mean, or a sum.
    """

    kind: ClassVar[str] = "back_propagation"
    lr: float = 0.01
    iterations: int = 1
    rho: float | None = None
    tau: float | None = None
    tau_convention: Convention = Convention.sum
    reduction: Reduction = Reduction.mean

    def check(self, at: str) -> None:
        check_numbers(self, at, "lr", above=0)
        check_counts(self, at, "iterations", most=MOST)
        _check_weight(self, at)

    def build(
        self, network: lifted.LiftedNetwork, original: nn.Module, context: RunContext
    ) -> Solver:
        weight = _NoPull(self.rho, self.tau, self.tau_convention).weight(context)
        # The library's rho stands next to whatever the loss is reduced to.
        weight *= context.batch_size if self.reduction is Reduction.sum else 1
        return lifted.BackPropagation(
            network,
            lr=self.lr,
            iterations=self.iterations,
            rho=weight,
            reduction=self.reduction.value,
        )

    def rates(self, context: RunContext) -> tuple[str, float]:
        return "lr", self.lr


class _NoPull(ProximalConfig):
    own_rho: ClassVar[float] = 0.0


SOLVERS: tuple[type[SolverConfig], ...] = (
    Implicit,
    ExplicitImplicit,
    StoredStochastic,
    ProximalGradient,
    BlockCoordinate,
    BackPropagation,
)


def is_deterministic(solver: Solver) -> bool:
    """Whether a solver sees the whole training set in the same order at every step."""
    return isinstance(solver, FullBatchSolver)


def _check_weight(config: ProximalConfig | BackPropagation, at: str) -> None:
    """Refuse a proximal weight out of range, or given twice."""
    check_numbers(config, at, "rho", least=0)
    check_numbers(config, at, "tau", above=0)
    if config.rho is not None and config.tau is not None:
        raise BenchError(
            f"{at}.rho={config.rho} and {at}.tau={config.tau} are the same weight: give one of them"
        )


def _require_full_batch(kind: str, context: RunContext) -> None:
    samples = len(context.data.train)
    if context.steps_per_epoch > 1:
        raise BenchError(
            f"trainer.batch_size={context.batch_size} is too small: method/solver={kind} sees all "
            f"{samples} training images in every step; set trainer.batch_size={samples}, or "
            "data.limit to fewer images"
        )
