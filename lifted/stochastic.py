"""Stochastic proximal gradient descent with stored auxiliary variables: eq. (19)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bregman.validation import check_choice, check_count, check_non_negative
from lifted.choices import Sweep, XStep
from lifted.forward_backward import StepRule, gauss_seidel_step, jacobi_step
from lifted.lift import Lift
from lifted.network import LiftedNetwork
from lifted.solver import Solver, check_step_scale
from lifted.stored import Storage


class StoredStochastic(Solver):
    """Updates parameters with every batch, and stored auxiliary variables when their sample is drawn.

    Args:
        network: The network.
        samples: Size of the training set; `step` needs the indices of its samples.
        rho: Damping of parameter steps: their size is at most step_scale / rho. A batch sees only
            a part of the energy, so convergence needs rho > 0 or a falling learning rate.
        iterations: Updates per batch, 1 in the paper.
        sweep: `jacobi`, as printed, or `gauss_seidel`, an alternating variant.
        step_scale: Step size in units of 1 / (Lipschitz constant), in (0, 2).
        x_step: `prox`, `mirror` or `auto`.

    Raises:
        ValueError: An argument is out of range, or `step` is called without indices.
    """

    def __init__(
        self,
        network: LiftedNetwork,
        *,
        samples: int,
        rho: float = 1.0,
        iterations: int = 1,
        sweep: str = "jacobi",
        step_scale: float = 1.0,
        x_step: str = "auto",
    ) -> None:
        super().__init__(network)
        check_count("samples", samples)
        check_non_negative("rho", rho)
        check_count("iterations", iterations)
        check_choice("sweep", sweep, Sweep)
        check_choice("x_step", x_step, XStep)
        check_step_scale(step_scale)
        self.rho, self.iterations, self.sweep = rho, iterations, sweep
        self.step_scale, self.x_step = step_scale, x_step
        self._storage = Storage(samples)

    def _update(self, lift: Lift, indices: Tensor | None) -> None:
        if indices is None:
            raise ValueError(
                "no indices (auxiliary variables are stored by sample: call step(x, y, indices))"
            )
        self._storage.load(lift, indices)
        rule = StepRule(self.step_scale, self.rho / self._factor, self.x_step)
        for _ in range(self.iterations):
            (jacobi_step if self.sweep == "jacobi" else gauss_seidel_step)(lift, rule)
        self._storage.save(lift, indices)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"storage": self._storage.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._storage.load_state_dict(state["storage"])
