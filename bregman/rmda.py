r"""RMDA and RAMDA: regularised dual averaging with momentum, whose iterates average proximal points.

Source: Huang, Lee, "Training structured neural networks through manifold identification and variance
reduction", ICLR 2022 (RMDA); Hsieh, Huang, Lee, "Regularized adaptive momentum dual averaging with an
efficient inexact subproblem solver for training structured neural network", NeurIPS 2024 (RAMDA).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bregman.groups import Group, group_dims, group_size
from bregman.optimizer import (
    Params,
    PenalisedOptimizer,
    empty_state,
    group_penalty,
    learning_rate,
    state_dtype,
    zero_state,
)
from bregman.validation import check_choice, check_non_negative, check_positive

#: Limits of the proximal gradient iteration for RAMDA's subproblem with groups.
_MOST_ITERATIONS = 100
_TOLERANCE = 1e-8


class RMDA(PenalisedOptimizer):
    r"""Dual averaging with weights tau sqrt(t), and an average of its proximal points.

    With gradient g, learning rate tau, step t since the last restart and the parameter theta_0 there:

        s      = tau sqrt(t),    A <- A + s,    V <- V + s g
        y      = prox_{(A / sqrt(t)) lam J}(theta_0 - V / sqrt(t))
        theta <- (1 - c) theta + c y

    The iterates theta are averages: exact zeros appear in y (`proximal_points`), and in theta only
    where c is 1. A schedule that lowers the learning rate should call `restart` at the same step.

    Args:
        params: Parameters, named parameters, or groups of them (see `bregman.penalize`). The parameters
            of one group share t and A, which advance when the group is stepped.
        lr: Learning rate tau. A tensor of one number is read at every step: keep it on the CPU.
        averaging: c in (0, 1]; the paper of 2024 takes 0.1, the paper of 2022 takes 0.01.
        averaging_power: p >= 0 of `c_k = min(1, c k^p)` at step k since the last restart; with p = 0
            the average is constant.
        weight_decay: Factor of theta, which is added to the gradient.
        penalty: Name of J: `none`, `l1`, `l12`, `nonnegative`, `nuclear` (see `bregman.penalties`).
        lam: Weight lambda of J. A change takes effect at the next step.
        group: What forms one group of `l12` (see `bregman.groups`).
        group_weight: `"sqrt"`: a group counts with the square root of its size; `"none"`: with 1.
        maximize: Ascend on the loss instead of descend.

    Raises:
        ValueError: A value is out of range, or the penalty does not fit a parameter.

    State per parameter: `start` (theta_0) and `dual` (V); per group: `elapsed` (A), `elapsed_steps` (t).
    """

    _kind = "RMDA"

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.1,
        *,
        averaging: float = 0.1,
        averaging_power: float = 0.0,
        weight_decay: float = 0.0,
        penalty: str = "none",
        lam: float = 0.0,
        group: Group | Sequence[int] | None = None,
        group_weight: str = "sqrt",
        maximize: bool = False,
        **more: Any,
    ) -> None:
        defaults = {
            "lr": lr,
            "averaging": averaging,
            "averaging_power": averaging_power,
            "weight_decay": weight_decay,
            "penalty": penalty,
            "lam": lam,
            "group": group,
            "group_weight": group_weight,
            "maximize": maximize,
            "elapsed": 0.0,
            "elapsed_steps": 0,
            **more,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def proximal_points(self) -> dict[Tensor, Tensor]:
        """The point y of every parameter; a parameter that was not stepped maps to a copy of itself."""
        return {
            param: self._proximal_point(group, self.state[param]).to(param.dtype)
            if self.state.get(param) and group["elapsed_steps"]
            else param.detach().clone()
            for group in self.param_groups
            for param in group["params"]
        }

    @torch.no_grad()
    def restart(self, *, averaging: float | None = None) -> None:
        """Begin anew from the present parameters, as after a milestone of the learning rate.

        Args:
            averaging: c from now on; None keeps c.

        Raises:
            ValueError: c is out of range; nothing is changed.
        """
        self._restart({} if averaging is None else {"averaging": averaging})

    def _restart(self, changes: dict[str, float]) -> None:
        new = {"elapsed": 0.0, "elapsed_steps": 0, **changes}
        for group in self.param_groups:  # all of them before anything changes
            self._check_group({**group, **new})
        for group in self.param_groups:
            group.update(new)
            for param in group["params"]:
                for name, tensor in self.state.get(param, {}).items():
                    tensor.copy_(param) if name == "start" else tensor.zero_()

    def _check_group(self, group: dict[str, Any]) -> None:
        check_positive("averaging", group["averaging"])
        if group["averaging"] > 1:
            raise ValueError(f"Invalid averaging: {group['averaging']!r} (must be in (0, 1])")
        check_non_negative("averaging_power", group["averaging_power"])
        check_non_negative("elapsed", group["elapsed"])
        check_non_negative("elapsed_steps", group["elapsed_steps"])
        super()._check_group(group)

    def _init_state(self, param: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        state.update(start=empty_state(param).copy_(param), dual=zero_state(param))

    def _entries(self, group: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset({"start", "dual"}), frozenset()

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        group["elapsed_steps"] += 1
        steps = group["elapsed_steps"]
        weight = learning_rate(group) * math.sqrt(steps)
        group["elapsed"] += weight
        share = min(1.0, group["averaging"] * steps ** group["averaging_power"])
        for param, grad, state in zip(params, grads, states, strict=True):
            grad = grad.to(state_dtype(param))
            grad = -grad if group["maximize"] else grad
            self._accumulate(state, grad.add(param, alpha=group["weight_decay"]), weight)
            point = self._proximal_point(group, state)
            param.copy_(point if share == 1 else (1 - share) * param + share * point)

    def _accumulate(self, state: dict[str, Any], grad: Tensor, weight: float) -> None:
        state["dual"].add_(grad, alpha=weight)

    def _proximal_point(self, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
        root = math.sqrt(group["elapsed_steps"])
        moved = state["start"] - state["dual"] / root
        return group_penalty(group).prox(moved, group["lam"] * group["elapsed"] / root)


class RAMDA(RMDA):
    r"""RMDA with a diagonal metric from squared gradients, as AdaGrad but with a cube root.

    With s, A and V as in `RMDA`:

        U     <- U + s g^2,    D = U^(1/3) + eps
        y      = argmin_x <V, x> + |x - theta_0|_D^2 / 2 + A lam J(x)
        theta <- (1 - c) theta + c y

    For penalties of single entries y is a prox with the thresholds A lam / D. For `l12` proximal
    gradient finds y with step 1 / max D in each group, in at most 100 iterations, to a relative change
    of 1e-8.

    Args: The arguments of `RMDA`, and
        eps: Number > 0 that is added to the cube root. `restart` can change it with the learning rate.

    Raises:
        ValueError: As in `RMDA`, or the penalty is `nuclear`, whose prox in the metric D is unknown.

    State per parameter: `start`, `dual` and `curvature` (U).
    """

    _kind = "RAMDA"

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.01,
        *,
        averaging: float = 0.01,
        eps: float = 1e-6,
        **options: Any,
    ) -> None:
        super().__init__(params, lr, averaging=averaging, eps=eps, **options)

    @torch.no_grad()
    def restart(self, *, averaging: float | None = None, eps: float | None = None) -> None:
        """Begin anew as `RMDA.restart` does; `eps` is set for all groups, None keeps it."""
        changes = {"averaging": averaging, "eps": eps}
        self._restart({name: value for name, value in changes.items() if value is not None})

    def _check_group(self, group: dict[str, Any]) -> None:
        check_positive("eps", group["eps"])
        check_choice("penalty", group["penalty"], ("none", "l1", "l12", "nonnegative"))
        super()._check_group(group)

    def _init_state(self, param: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        super()._init_state(param, group, state)
        state["curvature"] = zero_state(param)

    def _entries(self, group: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset({"start", "dual", "curvature"}), frozenset()

    def _accumulate(self, state: dict[str, Any], grad: Tensor, weight: float) -> None:
        super()._accumulate(state, grad, weight)
        state["curvature"].addcmul_(grad, grad, value=weight)

    def _proximal_point(self, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
        metric = state["curvature"].pow(1 / 3).add_(group["eps"])
        moved = state["start"] - state["dual"] / metric
        threshold = group["lam"] * group["elapsed"]
        if group["penalty"] != "l12":
            return group_penalty(group).prox(moved, threshold / metric)
        dims = group_dims(group["group"], moved.shape)
        if group["group_weight"] == "sqrt":
            threshold *= math.sqrt(group_size(dims, moved.shape))
        return metric_group_prox(moved, metric, threshold, dims)


def metric_group_prox(
    center: Tensor, metric: Tensor, threshold: float, dims: tuple[int, ...]
) -> Tensor:
    """`argmin_x |x - center|_D^2 / 2 + threshold sum_g norm(x_g)`, by proximal gradient.

    Args:
        center: Any shape.
        metric: D, positive, of the same shape.
        threshold: Weight of the norms.
        dims: Axes that together form one group.
    """
    norm = torch.linalg.vector_norm
    largest = metric.amax(dim=dims, keepdim=True)
    # A group vanishes exactly if |D center| <= threshold; the iteration would only approach zero.
    alive = norm(metric * center, dim=dims, keepdim=True) > threshold
    found = center * alive
    for _ in range(_MOST_ITERATIONS):
        moved = found - metric * (found - center) / largest
        size = norm(moved, dim=dims, keepdim=True).clamp_(min=torch.finfo(moved.dtype).tiny)
        new = moved * (1 - threshold / (largest * size)).clamp_(min=0) * alive
        change, found = norm(new - found), new
        if change <= _TOLERANCE * norm(found):
            break
    return found
