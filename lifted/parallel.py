"""Data-parallel implicit steps: every worker solves its own batch, then parameters are averaged.

Source: Wang and Benning (2023), section 4.2.2 and eq. (23). The proximal term of every worker is
centred at the average of the last round, from which every worker starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lifted.lift import Lift
from lifted.solver import Solver, StepResult


class DataParallel(Solver):
    """A solver per process, on the batch of that process; all processes step together.

    Args:
        solver: A solver without memory between batches, such as `ImplicitStochastic`. The networks of
            all processes must be equal.
        group: Process group; None is the default group, which must be initialised.
    """

    def __init__(self, solver: Solver, *, group: dist.ProcessGroup | None = None) -> None:
        super().__init__(solver.network)
        self.solver, self.group = solver, group
        self.observers = solver.observers

    @torch.no_grad()
    def step(self, inputs: Tensor, targets: Tensor, indices: Tensor | None = None) -> StepResult:
        """Take a step on this process's batch, then average parameters; loss and outputs are local."""
        result = self.solver.step(inputs, targets, indices)
        for parameter in self.network.parameters():
            self.mean_over_processes(parameter)
        return result

    def mean_over_processes(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes, in place."""
        dist.all_reduce(value, group=self.group)
        return value.div_(dist.get_world_size(self.group))

    def _update(self, lift: Lift, indices: Tensor | None) -> None:
        raise NotImplementedError("the wrapped solver updates")

    def scale_lr(self, factor: float) -> None:
        self.solver.scale_lr(factor)

    def check(self) -> None:
        self.solver.check()

    def notes(self) -> list[str]:
        return self.solver.notes()

    def state_dict(self) -> dict[str, Any]:
        return self.solver.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.solver.load_state_dict(state)


@torch.no_grad()
def parallel_round(solver: Solver, batches: Sequence[tuple[Tensor, Tensor]]) -> list[StepResult]:
    """Compute in one process what one step of `DataParallel` computes, with one process per batch.

    Args:
        solver: A solver without memory between batches.
        batches: Inputs and targets per worker.

    Returns:
        The result of each worker.

    Raises:
        ValueError: There is no batch.
    """
    if not batches:
        raise ValueError("Invalid batches: none (must be one for each worker)")
    parameters: list[nn.Parameter] = list(solver.network.parameters())
    start = [p.clone() for p in parameters]
    sums = [torch.zeros_like(p) for p in parameters]
    results = []
    for inputs, targets in batches:
        for parameter, value in zip(parameters, start, strict=True):
            parameter.copy_(value)
        results.append(solver.step(inputs, targets))
        for total, parameter in zip(sums, parameters, strict=True):
            total.add_(parameter)
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.copy_(total / len(batches))
    return results
