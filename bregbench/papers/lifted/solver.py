"""Base classes of the configs of `lifted` solvers: proximal weight and learning rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import nn

import lifted
from bregbench.foundations.errors import BenchError
from bregbench.foundations.ranges import check_numbers
from bregbench.tasks.context import RunContext
from lifted.choices import Convention, XStep
from lifted.solver import Solver
from lifted.stored import FullBatchSolver


@dataclass
class SolverConfig:
    """Which solver trains a lifted network."""

    kind: ClassVar[str]

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of this solver, such as `method.solver`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """

    def build(
        self, network: lifted.LiftedNetwork, original: nn.Module, context: RunContext
    ) -> Solver:
        """The solver for a network.

        Args:
            network: the network to train.
            original: the network of the bench that shares its parameters.
            context: batch size, training images.

        Raises:
            BenchError: an option does not fit the solver.
            ValueError: the network does not fit the solver.
        """
        raise NotImplementedError

    def rates(self, context: RunContext) -> tuple[str, float]:
        """Name and configured value of the option that a learning rate schedule scales."""
        raise NotImplementedError


@dataclass
class ProximalConfig(SolverConfig):
    """A solver with the proximal term rho/2 |Theta - Theta^k|^2 beside an energy that is a mean over samples.

    Attributes:
        rho: weight of the proximal term; null for the solver's default, or if tau is given.
        tau: the paper's tau^k, given instead of rho.
        tau_convention: meaning of tau.
        step_scale: step size in units of 1 / (Lipschitz constant), below 2.
        x_step: how auxiliary variables move.
    """

    own_rho: ClassVar[float] = 1.0

    rho: float | None = None
    tau: float | None = None
    tau_convention: Convention = Convention.sum
    step_scale: float = 1.9
    x_step: XStep = XStep.auto

    def check(self, at: str) -> None:
        check_weight(self, at)
        check_numbers(self, at, "step_scale", above=0, below=2)

    def weight(self, context: RunContext) -> float:
        """The proximal weight rho, from rho or tau."""
        if self.tau is None:
            return self.own_rho if self.rho is None else self.rho
        convention = self.tau_convention
        return lifted.paper_rho(self.tau, context.batch_size, convention=convention)

    def rates(self, context: RunContext) -> tuple[str, float]:
        return "rho", self.weight(context)


class Weighted(Protocol):
    """A config with a proximal weight, given in one of two ways."""

    rho: float | None
    tau: float | None


def is_deterministic(solver: Solver) -> bool:
    """Whether a solver sees the whole training set in the same order at every step."""
    return isinstance(solver, FullBatchSolver)


def check_weight(config: Weighted, at: str) -> None:
    """Refuse a proximal weight out of range, or given twice."""
    check_numbers(config, at, "rho", least=0)
    check_numbers(config, at, "tau", above=0)
    if config.rho is not None and config.tau is not None:
        raise BenchError(
            f"{at}.rho={config.rho} and {at}.tau={config.tau} are the same weight: give one of them"
        )


def require_full_batch(kind: str, context: RunContext) -> None:
    """Refuse mini-batches for a solver that sees all training images in every step."""
    samples = len(context.data.train)
    if context.steps_per_epoch > 1:
        raise BenchError(
            f"trainer.batch_size={context.batch_size} is too small: method/solver={kind} sees all "
            f"{samples} training images in every step; set trainer.batch_size={samples}, or "
            "data.limit to fewer images"
        )
