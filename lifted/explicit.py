"""Explicit-implicit variants of eq. (24), whose explicit steps any optimiser of torch may take.

Source: Wang and Benning (2023), end of section 4.2.3. With `bregman.LinBreg` as the optimiser, the
solver regularises parameters iteratively, as in section 4.1.2.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from bregman import ProxAdam, ProxSGD
from bregman.validation import check_choice, check_count, check_non_negative
from lifted.choices import Explicit, XStep
from lifted.lift import Lift
from lifted.network import LiftedNetwork
from lifted.solver import Solver, check_step_scale
from lifted.sweeps import fit_parameters, sweep_auxiliary


class ExplicitImplicit(Solver):
    """One explicit step in one group of variables, N implicit ones in the other.

    Args:
        network: The network.
        explicit: `parameters`: solve for X at Theta^k, then take one gradient step in Theta;
            `auxiliary`: one sweep over X, then N steps in every Theta_l.
        optimizer: Optimiser that takes the explicit parameter steps, from gradients that this solver
            writes: `LinBreg(penalize(network, lam=...), lr=...)` gives sparse (l1) or low-rank (nuclear)
            parameters. None: a gradient step of size step_scale / (Lipschitz constant + rho).
        optimizer_steps: Steps of the optimiser per batch, at the same X.
        rho: Proximal weight; unused with an optimiser.
        iterations: N.
        step_scale: Step size in units of 1 / (Lipschitz constant), in (0, 2).
        x_step: `prox`, `mirror` or `auto`.

    Raises:
        ValueError: An argument is out of range, or an optimiser is given while parameters are implicit.
    """

    def __init__(
        self,
        network: LiftedNetwork,
        *,
        explicit: str = "parameters",
        optimizer: Optimizer | None = None,
        optimizer_steps: int = 1,
        rho: float = 1.0,
        iterations: int = 15,
        step_scale: float = 1.9,
        x_step: str = "auto",
    ) -> None:
        super().__init__(network)
        check_choice("explicit", explicit, Explicit)
        check_choice("x_step", x_step, XStep)
        check_non_negative("rho", rho)
        check_count("iterations", iterations)
        check_count("optimizer_steps", optimizer_steps)
        check_step_scale(step_scale)
        if optimizer is not None and explicit != "parameters":
            raise ValueError(
                f"Invalid explicit: {explicit!r} (must be 'parameters' when an optimizer is given)"
            )
        self.explicit, self.optimizer, self.optimizer_steps = explicit, optimizer, optimizer_steps
        self.rho, self.iterations = rho, iterations
        self.step_scale, self.x_step = step_scale, x_step
        self._rates = [float(g["lr"]) for g in optimizer.param_groups] if optimizer else []

    def _update(self, lift: Lift, indices: Tensor | None) -> None:
        implicit = self.iterations
        sweeps, fits = (implicit, 1) if self.explicit == "parameters" else (1, implicit)
        sweep_auxiliary(lift, sweeps, scale=self.step_scale, form=self.x_step)
        if self.optimizer is None:
            fit_parameters(lift, fits, rho=self.rho / self._factor, scale=self.step_scale)
            return
        for _ in range(self.optimizer_steps):
            write_gradients(lift)
            self.optimizer.step()
            for number in range(self.network.depth):
                lift.parameters_changed(number)
        self.optimizer.zero_grad(set_to_none=True)

    def scale_lr(self, factor: float) -> None:
        super().scale_lr(factor)
        if self.optimizer is not None:
            for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(
                        rate * factor
                    )  # in place: a compiled step refers to the tensor
                else:
                    group["lr"] = rate * factor

    def notes(self) -> list[str]:
        """A warning if parameters are penalised in the energy: x = sigma(z) fails then (4.1.2)."""
        groups = self.optimizer.param_groups if self.optimizer else []
        penalised = isinstance(self.optimizer, ProxSGD | ProxAdam) and any(
            group["penalty"] != "none" and group["lam"] > 0 for group in groups
        )
        if penalised or any(group.get("weight_decay", 0) for group in groups):
            return [
                "a penalty on the parameters is part of the energy: x = sigma(z) no longer holds at "
                "a minimiser (LinBreg regularises iteratively and keeps x = sigma(z))"
            ]
        return []

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        return state | ({"optimizer": self.optimizer.state_dict()} if self.optimizer else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])


def write_gradients(lift: Lift) -> None:
    """Put the gradient of the batch mean of the energy into every parameter's `grad`."""
    for number, layer in enumerate(lift.network.layers):
        residual = lift.residual(number) / lift.samples
        gradients = layer.affine.gradients(lift.layer_input(number), residual)
        for parameter, gradient in zip(layer.affine.parameters, gradients, strict=True):
            parameter.grad = gradient
