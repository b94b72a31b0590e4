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
    """Proximal ascent in the weights lambda_l, next to any solver with penalties.

    An update is `lambda_l <- lambda_l + rate * (mean of B_l)`, where B_l is the penalty of layer l after
    a step of the solver. Since B_l >= 0 the weights never fall: the method is a penalty continuation
    and does not search a saddle point.

    Args:
        solver: The solver whose steps are observed and whose network's weights change.
        rate: tau of appendix B.3, > 0.

    Raises:
        ValueError: The rate is not positive, or the solver has no penalties.
    """

    def __init__(self, solver: Solver, *, rate: float) -> None:
        check_positive("rate", rate)
        if isinstance(solver, BackPropagation):
            raise ValueError(
                "Invalid solver: BackPropagation has no penalties (must be a solver with auxiliary "
                "variables)"
            )
        self.solver, self.rate = solver, float(rate)
        self._sum: Tensor | None = None
        self._batches = 0
        solver.observers.append(self._observe)

    def update(self) -> list[float]:
        """Raise the weights by the penalties observed since the last call; return the new weights.

        All processes of a `DataParallel` must call this method together, and all get equal weights. The
        host waits for the device: call it once an epoch, or after each step of a deterministic solver.
        """
        lam = self.solver.network.lam
        if self._sum is not None:
            means = self.solver.mean_over_processes(self._sum / self._batches)
            for number, mean in enumerate(means.tolist()):
                lam[number] += self.rate * mean
        self._sum, self._batches = None, 0
        return lam[:-1]

    def state_dict(self) -> dict[str, Any]:
        """The weights, and the sum and number of penalties observed since the last update."""
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
