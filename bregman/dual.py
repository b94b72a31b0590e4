"""The dual variable v of the Bregman optimisers and how parameters are recovered from it.

v is a subgradient of the elastic net `J_delta(theta) = lam J(theta) + |theta|^2 / (2 delta)` at
theta, and `theta = prox_{delta lam J}(delta v)` at all times (Bungert et al. 2022, Algorithm 1 and
eqs. 2.6, 2.8).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bregman.elementwise import Zero
from bregman.optimizer import PenalisedOptimizer, empty_state, group_penalty, state_dtype
from bregman.penalties import Penalty
from bregman.thresholds import check_threshold, level
from bregman.updates import copy_, scale_
from bregman.validation import check_positive


class DualOptimizer(PenalisedOptimizer):
    """An optimiser that updates `state["dual"]` and recovers the parameter from it.

    The parameter is an output of every step: whoever changes it by hand (a mask, pruned weights,
    weights loaded from a file) has to call `reset_dual` afterwards, or the next step undoes the
    change.
    """

    _steps_on_parameters = False

    @torch.no_grad()
    def reset_dual(self) -> None:
        """Choose the dual anew from the present parameters, as at the first step; momenta are kept.

        The duals that inactive weights have accumulated so far are lost.
        """
        for group in self.param_groups:
            for param in group["params"]:
                state = self.state.get(param)
                if state:
                    state["dual"].copy_(_subgradient(param, group))

    def _init_state(self, param: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        state["dual"] = empty_state(param).copy_(_subgradient(param, group))

    @torch.no_grad()
    def recover(self) -> None:
        """Write the parameters anew from their duals, after a change of lam between two steps.

        Parameters that were not stepped yet have no dual and stay as they are.
        """
        for group in self.param_groups:
            params = [param for param in group["params"] if self.state.get(param)]
            if not params:
                continue
            duals = [self.state[param]["dual"] for param in params]
            lam, delta = level(group), group["delta"]
            recover_(params, duals, group_penalty(group), lam=lam, delta=delta)

    def _check_group(self, group: dict[str, Any]) -> None:
        check_positive("delta", group["delta"])
        check_threshold(group)
        super()._check_group(group)


def _subgradient(param: Tensor, group: dict[str, Any]) -> Tensor:
    """`theta / delta + lam p`, where p is a subgradient of J at theta that is 0 where theta is 0."""
    theta = param.detach().to(state_dtype(param))
    return (
        group_penalty(group).subgradient(theta, level(group)).add_(theta, alpha=1 / group["delta"])
    )


def recover_(
    params: list[Tensor], duals: list[Tensor], penalty: Penalty, *, lam: float, delta: float
) -> None:
    """Write `theta = delta prox_{lam J}(v)` into the existing storage of every parameter.

    Every J of this package is positively homogeneous, so theta is `prox_{delta lam J}(delta v)`.
    """
    if delta != 1 and any(
        param.dtype != dual.dtype for param, dual in zip(params, duals, strict=True)
    ):
        # A product with delta in the storage of a low-precision parameter would round a second time.
        for param, dual in zip(params, duals, strict=True):
            scaled = delta * dual
            penalty.prox_into(scaled, delta * lam, scaled)
            param.copy_(scaled)
        return
    if isinstance(penalty, Zero):
        copy_(params, duals)
    else:
        for param, dual in zip(params, duals, strict=True):
            penalty.prox_into(dual, lam, param)
    scale_(params, delta)
