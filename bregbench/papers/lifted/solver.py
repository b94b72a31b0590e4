"""What the solvers of `lifted` have in common as configs: a proximal weight, and rates."""

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
        check_weight(self, at)
        check_numbers(self, at, "step_scale", above=0, below=2)

    def weight(self, context: RunContext) -> float:
        """rho, whichever way it is given."""
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
