"""Weights lambda_l that grow until the constraints hold: appendix B.3."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bregman.validation import check_positive
from lifted.baselines import BackPropagation
from lifted.energy import energy
from lifted.lift import Lift
from lifted.solver import Solver


class Multipliers:
    """Proximal ascent in the weights, next to any solver.

    `lambda_l <- lambda_l + rate * (mean of B_l)`, with the penalties that the solver left behind.
    Since B >= 0 the weights only ever grow: a penalty continuation rather than a saddle point.

    Args:
        solver: Its network's weights are changed; its batches are observed.
        rate: tau of B.3.

    Raises:
        ValueError: The rate is not positive, or the solver has no penalties.
    """

    def __init__(self, solver: Solver, *, rate: float) -> None:
        check_positive("rate", rate)
        if isinstance(solver, BackPropagation):
            raise ValueError("multipliers around back-propagation, which has no penalties")
        self.solver, self.rate = solver, float(rate)
        self._sum: Tensor | None = None
        self._batches = 0
        solver.observers.append(self._observe)

    def update(self) -> list[float]:
        """Raise the weights by what was observed since the last call; returns the new ones.

        All processes of a `DataParallel` raise them alike, and must call this together. Reads the
        host: meant for the end of an epoch, or for every step of a deterministic solver.
        """
        lam = self.solver.network.lam
        if self._sum is not None:
            means = self.solver.mean_over_processes(self._sum / self._batches)
            for number, mean in enumerate(means.tolist()):
                lam[number] += self.rate * mean
        self._sum, self._batches = None, 0
        return lam[:-1]

    def state_dict(self) -> dict[str, Any]:
        """The weights, and what was observed since they last changed."""
        observed = {"sum": self._sum, "batches": self._batches}
        return {"lam": list(self.solver.network.lam)} | observed

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.solver.network.lam[:] = state["lam"]
        self._sum, self._batches = state["sum"], state["batches"]

    @torch.no_grad()
    def _observe(self, lift: Lift) -> None:
        penalties = energy(lift).penalties
        self._sum = penalties if self._sum is None else self._sum + penalties
        self._batches += 1
