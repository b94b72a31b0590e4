"""Deterministic proximal gradient descent, eq. (17), with Nesterov and heavy-ball acceleration."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bregman.validation import check_choice, check_decay, check_non_negative
from lifted.auxiliary_step import choose_form
from lifted.choices import Acceleration, Sweep, XStep
from lifted.forward_backward import Pushes, StepRule, gauss_seidel_step, jacobi_step
from lifted.lift import Lift
from lifted.network import LiftedNetwork
from lifted.solver import check_step_scale
from lifted.stored import FullBatchSolver


class ProximalGradient(FullBatchSolver):
    """Forward-backward splitting on all parameters and all auxiliary variables of a training set.

    Args:
        network: The network.
        sweep: `gauss_seidel` or `jacobi` (all blocks from old values, as printed; can be parallel).
        acceleration: `none`; `nesterov`: step from an extrapolated point, with the weights of
            FISTA; `heavy_ball`: add a multiple of the last move.
        momentum: The multiple of the last move that `heavy_ball` adds, in [0, 1).
        step_scale: Step size in units of 1 / (Lipschitz constant) of one block, in (0, 2). The energy
            falls in each step of a single block; Jacobi steps and acceleration need a value <= 1.
        rho: Damping, which is added to the curvature of parameter steps.
        x_step: `prox`, `mirror` or `auto`.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        network: LiftedNetwork,
        *,
        sweep: str = "gauss_seidel",
        acceleration: str = "none",
        momentum: float = 0.5,
        step_scale: float = 1.0,
        rho: float = 0.0,
        x_step: str = "auto",
    ) -> None:
        super().__init__(network)
        check_choice("sweep", sweep, Sweep)
        check_choice("acceleration", acceleration, Acceleration)
        check_choice("x_step", x_step, XStep)
        check_decay("momentum", momentum)
        check_non_negative("rho", rho)
        check_step_scale(step_scale)
        self.sweep, self.acceleration, self.momentum = sweep, acceleration, momentum
        self.step_scale, self.rho, self.x_step = step_scale, rho, x_step
        self._last: list[Tensor] | None = None
        self._inertia = 1.0

    def _iterate(self, lift: Lift) -> None:
        now = self._variables(lift)
        moves = [torch.zeros_like(x) for x in now]
        if self._last is not None:
            moves = [x - y for x, y in zip(now, self._last, strict=True)]
        pushes = Pushes()
        if self.acceleration == "nesterov":
            self._extrapolate(lift, moves)
        elif self.acceleration == "heavy_ball":
            pushes = self._pushes([self.momentum * move for move in moves])
        # Kept as copies: parameters are written in place.
        self._last = [x.clone() for x in now] if self.acceleration == "heavy_ball" else self._last
        rule = StepRule(self.step_scale, self.rho / self._factor, self.x_step, pushes)
        (gauss_seidel_step if self.sweep == "gauss_seidel" else jacobi_step)(lift, rule)

    def _variables(self, lift: Lift) -> list[Tensor]:
        """The variables that steps move: the dual or the value of each hidden layer, then parameters."""
        free = [
            lift.dual[n] if choose_form(lift, n, self.x_step) == "mirror" else lift.aux[n]
            for n in range(len(lift.aux))
        ]
        return free + [p for layer in self.network.layers for p in layer.affine.parameters]

    def _pushes(self, moves: list[Tensor]) -> Pushes:
        parameters, rest = [], moves[self.network.depth - 1 :]
        for layer in self.network.layers:
            size = len(layer.affine.parameters)
            parameters.append(rest[:size])
            rest = rest[size:]
        return Pushes(moves[: self.network.depth - 1], parameters)

    def _extrapolate(self, lift: Lift, moves: list[Tensor]) -> None:
        """Add the FISTA weight times the last move to all variables; the next prox restores domains."""
        self._last = [x.clone() for x in self._variables(lift)]
        following = (1 + math.sqrt(1 + 4 * self._inertia**2)) / 2
        weight, self._inertia = (self._inertia - 1) / following, following
        for number in range(len(lift.aux)):
            if choose_form(lift, number, self.x_step) == "mirror":
                dual = lift.dual[number] + weight * moves[number]
                kernel = self.network.penalty.kernel(self.network.layers[number].activation)
                lift.set_aux(number, kernel(dual), dual)
            else:
                lift.set_aux(number, lift.aux[number] + weight * moves[number])
        rest = iter(moves[len(lift.aux) :])
        for number, layer in enumerate(self.network.layers):
            for parameter in layer.affine.parameters:
                parameter.add_(weight * next(rest))
            lift.parameters_changed(number)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"last": self._last, "inertia": self._inertia}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._last, self._inertia = state["last"], state["inertia"]
