r"""xRDA: between proximal SGD and dual averaging, with weight-wise thresholds that favour large weights.

Source: Siegel, Chen, Xu, "Training sparse neural networks using compressed sensing" (2020), and the
schedules of the public code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bregman.elementwise import L1
from bregman.groups import Group, group_dims, group_size
from bregman.optimizer import (
    Params,
    PenalisedOptimizer,
    empty_state,
    learning_rate,
    state_dtype,
    zero_state,
)
from bregman.validation import check_choice, check_count, check_non_negative, check_positive

_STATE = ("center", "velocity", "magnitude", "threshold")


class XRDA(PenalisedOptimizer):
    r"""Extended regularised dual averaging.

    With gradient d, step size s, averaging a in [0, 1] and e = exp(-s / time_scale):

        m     <- e m + (1 - e) |theta|                            (a running size of every weight)
        omega  = M / (1 + (M - 1) m / max m)                      (1 for the largest, M for zeros)
        b     <- a b + s omega
        q     <- a q + (1 - a) theta
        u     <- e u + (1 - e) d,    q <- q - s u
        theta <- soft(q, lam b)

    With a = 0 the method is proximal SGD with threshold lam s omega, with a = 1 it is dual averaging.
    Over `steps` steps, the first being t = 1, `s = lr (1 + cos(pi t / steps)) / 2` and
    `a = (1 - cos(pi t / steps)) / 2`. The last step and all later ones have s = 0 and change no weight.

    Args:
        params: Parameters, named parameters, or groups of them (see `bregman.penalize`). A parameter
            has thresholds if its group has a penalty, whatever its number of axes.
        lr: Largest step size.
        steps: Length of training in steps; None: s = lr and a = `averaging` at every step.
        averaging: a in [0, 1], which is used if `steps` is None.
        time_scale: Time scale of the running means m and u, in units of s, > 0.
        boost: M, at least 1.
        weight_decay: Factor of theta, which is added to the gradient.
        penalty: `none`, `l1` or `l12`. With `l12`, m averages over a group and omega is multiplied by
            the square root of the group's size, but every entry is thresholded by itself.
        lam: Weight lambda. Useful values are small, because omega multiplies lambda by up to M.
        group: What forms one group of `l12` (see `bregman.groups`).
        group_weight: `"sqrt"`; or `"none"`, which does not multiply omega by the root of the size.
        maximize: Ascend on the loss instead of descend.

    Raises:
        ValueError: A value is out of range, or the penalty does not fit a parameter.

    State per parameter: `step`, `center` (q), `velocity` (u), `magnitude` (m), `threshold` (b).
    """

    _kind = "XRDA"

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        *,
        steps: int | None = None,
        averaging: float = 1.0,
        time_scale: float = 9.5,
        boost: float = 500.0,
        weight_decay: float = 0.0,
        penalty: str = "none",
        lam: float = 0.0,
        group: Group | Sequence[int] | None = None,
        group_weight: str = "sqrt",
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "steps": steps,
            "averaging": averaging,
            "time_scale": time_scale,
            "boost": boost,
            "weight_decay": weight_decay,
            "penalty": penalty,
            "lam": lam,
            "group": group,
            "group_weight": group_weight,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_group(self, group: dict[str, Any]) -> None:
        if group["steps"] is not None:
            check_count("steps", group["steps"])
        check_non_negative("averaging", group["averaging"])
        check_positive("time_scale", group["time_scale"])
        check_non_negative("boost", group["boost"])
        if group["averaging"] > 1 or group["boost"] < 1:
            raise ValueError(
                f"Invalid averaging: {group['averaging']!r} (must be in [0, 1]) or boost: "
                f"{group['boost']!r} (must be >= 1)"
            )
        check_choice("penalty", group["penalty"], ("none", "l1", "l12"))
        super()._check_group(group)

    def _init_state(self, param: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        state.update({name: zero_state(param) for name in _STATE})
        state.update(step=0, center=empty_state(param).copy_(param))

    def _entries(self, group: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset({"step", *_STATE}), frozenset()

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        for param, grad, state in zip(params, grads, states, strict=True):
            state["step"] += 1
            size, averaging = _schedule(group, state["step"])
            theta = param.to(state_dtype(param))
            grad = grad.to(theta.dtype)
            grad = (-grad if group["maximize"] else grad).add(theta, alpha=group["weight_decay"])
            kept = math.exp(-size / group["time_scale"])
            if group["penalty"] != "none":
                boost = _boosts(state["magnitude"], theta, kept, group)
                state["threshold"].mul_(averaging).add_(boost, alpha=size)
            state["velocity"].mul_(kept).add_(grad, alpha=1 - kept)
            center = state["center"].mul_(averaging).add_(theta, alpha=1 - averaging)
            center.sub_(state["velocity"], alpha=size)
            thresholds: Any = group["lam"] * state["threshold"]
            param.copy_(L1().prox(center, thresholds))


def _schedule(group: dict[str, Any], step: int) -> tuple[float, float]:
    """Step size s and averaging a."""
    lr = learning_rate(group)
    if group["steps"] is None:
        return lr, group["averaging"]
    fall = math.cos(math.pi * min(step, group["steps"]) / group["steps"])
    return lr * (1 + fall) / 2, (1 - fall) / 2


def _boosts(mean: Tensor, theta: Tensor, kept: float, group: dict[str, Any]) -> Tensor:
    """Update m in place and return omega; 0 for a tensor that has always been zero."""
    sizes, factor = theta.abs(), 1.0
    if group["penalty"] == "l12":
        dims = group_dims(group["group"], theta.shape)
        sizes = sizes.mean(dim=dims, keepdim=True).expand_as(theta)
        if group["group_weight"] == "sqrt":
            factor = math.sqrt(group_size(dims, theta.shape))
    mean.mul_(kept).add_(sizes, alpha=1 - kept)
    largest = mean.max()
    # While every weight has been zero, 0/0 would be NaN; omega is 0 then and no entry is thresholded.
    share = mean / torch.where(largest > 0, largest, 1)
    omega = group["boost"] / (1 + (group["boost"] - 1) * share)
    return omega * ((largest > 0) * factor)
