"""The baselines of the lifted paper: back-propagation, as config of `method/solver`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

import lifted
from bregbench.foundations.ranges import MOST, check_counts, check_numbers
from bregbench.papers.lifted.solver import ProximalConfig, SolverConfig, check_weight
from bregbench.tasks.context import RunContext
from lifted.choices import Convention, Reduction
from lifted.solver import Solver


@dataclass
class BackPropagation(SolverConfig):
    """The baselines SGD-BP (20), GD-BP (3) if a batch has all images, and ISGD-BP (22) if iterations > 1.

    Attributes:
        lr: learning rate.
        iterations: gradient steps per batch.
        rho: proximal weight of ISGD-BP, for a loss that is a mean over the batch.
        tau: the paper's tau^k, given instead of rho.
        tau_convention: meaning of tau.
        reduction: whether the loss of a batch is a mean or a sum.
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
        check_weight(self, at)

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
            reduction=self.reduction,
        )

    def rates(self, context: RunContext) -> tuple[str, float]:
        return "lr", self.lr


class _NoPull(ProximalConfig):
    own_rho: ClassVar[float] = 0.0
