"""Auxiliary variables that are stored between steps, one set for every training sample."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from lifted.lift import Lift
from lifted.solver import Solver


class FullBatchSolver(Solver):
    """A deterministic solver: every step gets the same samples and continues with their variables.

    The first step starts from a forward pass. The solver keeps two numbers for every sample and hidden
    unit, the variable and its dual.
    """

    _aux: list[Tensor] | None = None
    _dual: list[Tensor] | None = None

    @abstractmethod
    def _iterate(self, lift: Lift) -> None:
        """One iteration on parameters and variables."""

    def _update(self, lift: Lift, indices: Tensor | None) -> None:
        if self._aux is not None and self._dual is not None:
            for number, pair in enumerate(zip(self._aux, self._dual, strict=True)):
                if pair[0].shape != lift.aux[number].shape:
                    raise ValueError(
                        f"{lift.samples} samples after {len(pair[0])} (a deterministic solver "
                        "needs the whole training set, the same in every step)"
                    )
                lift.set_aux(number, *pair)
        self._iterate(lift)
        self._aux, self._dual = list(lift.aux), list(lift.dual)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"aux": self._aux, "dual": self._dual}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._aux, self._dual = state["aux"], state["dual"]


class Storage:
    """Rows of auxiliary variables and duals for all samples, filled at each sample's first visit.

    Args:
        samples: Size of the training set.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.tables: list[Tensor] = []
        self.visited: Tensor | None = None

    def load(self, lift: Lift, indices: Tensor) -> None:
        """Put stored rows into a fresh lift; samples seen for the first time keep the forward pass.

        Raises:
            ValueError: An index is too large. Only indices on the CPU are checked, because a check on a
            GPU would wait for the device.
        """
        if indices.device.type == "cpu" and (last := int(indices.max())) >= self.samples:
            raise ValueError(
                f"index {last} of {self.samples} samples (give samples= the size of the training set)"
            )
        fresh = [*lift.aux, *lift.dual]
        if self.visited is None:
            self.visited = torch.zeros(self.samples, dtype=torch.bool, device=indices.device)
            self.tables = [x.new_zeros(self.samples, *x.shape[1:]) for x in fresh]
        known = self.visited[indices]
        rows = [
            torch.where(known.reshape(-1, *[1] * (x.ndim - 1)), table[indices], x)
            for x, table in zip(fresh, self.tables, strict=True)
        ]
        for number in range(len(lift.aux)):
            lift.set_aux(number, rows[number], rows[number + len(lift.aux)])

    def save(self, lift: Lift, indices: Tensor) -> None:
        """Write the rows of these samples from the lift into the tables."""
        assert self.visited is not None
        for table, rows in zip(self.tables, [*lift.aux, *lift.dual], strict=True):
            table[indices] = rows
        self.visited[indices] = True

    def state_dict(self) -> dict[str, Any]:
        """Tables and which rows are filled."""
        return {"tables": self.tables, "visited": self.visited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.tables, self.visited = state["tables"], state["visited"]
