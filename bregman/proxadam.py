"""ProxAdam: Adam for the l1-penalised loss, with the prox taken in Adam's own metric.

The fixed points of a Euclidean soft threshold after an Adam step are not those of the Lasso: Adam's
step is preconditioned, so the threshold must be preconditioned, too. The prox of a group penalty in
Adam's metric has no closed form, hence ProxAdam takes `l1` only.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bregman.adabreg import adam_direction_, check_adam_options
from bregman.optimizer import Params, PenalisedOptimizer, learning_rate, zero_state
from bregman.updates import adam_, narrow_, scale_, widen


class ProxAdam(PenalisedOptimizer):
    r"""Adam's step, then a soft threshold of each entry by its own `lr lam / (sqrt(m2) + eps)`.

    With bias-corrected moments m1, m2 (as in Adam) and d = sqrt(m2) + eps:

        theta <- shrink(theta - lr m1 / d - lr weight_decay theta,  lr lam / d)

    Without weight decay a fixed point satisfies `-gradient in lam * sign(theta)`, so it is a critical
    point of the penalised loss (the Lasso).

    Args:
        params: Parameters, named parameters, or groups of them (see `bregman.penalize`).
        lr: Learning rate. A tensor of one number is read at every step: keep it on the CPU.
        betas: Decay of the two moments, each in [0, 1).
        eps: Number >= 0 that is added to the root of the second moment.
        weight_decay: Rate of decoupled decay, as in AdamW.
        penalty: `"l1"` or `"none"`.
        lam: Weight lambda of the l1 norm. A change takes effect at the next step.
        maximize: Ascend on the loss instead of descend (the threshold stays).
        foreach: False: the single-tensor reference; None or True: fused kernels where torch has
            them.

    Raises:
        ValueError: A value is out of range, or the penalty is neither `l1` nor `none`.

    Steps are added to the parameter itself. A bfloat16 or float16 parameter loses steps below half a
    unit in its last place, and a warning says so; AdaBreg keeps such steps in its dual, and float32
    parameters under autocast do not lose them.

    State per parameter: `step` (an int), `exp_avg`, `exp_avg_sq`; float32 or wider.
    """

    _kind = "ProxAdam"

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        penalty: str = "none",
        lam: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "penalty": penalty,
            "lam": lam,
            "group": None,
            "group_weight": "sqrt",
            "maximize": maximize,
            "foreach": foreach,
        }
        super().__init__(params, defaults)

    def _check_group(self, group: dict[str, Any]) -> None:
        check_adam_options(group)
        if group["penalty"] not in ("none", "l1"):
            raise ValueError(
                f"Invalid penalty: {group['penalty']!r} (ProxAdam takes 'l1' or 'none': in Adam's "
                "metric other penalties have no closed-form prox; use ProxSGD or AdaBreg)"
            )
        super()._check_group(group)

    def _init_state(self, param: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        state.update(step=0, exp_avg=zero_state(param), exp_avg_sq=zero_state(param))

    def _entries(self, group: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset({"step", "exp_avg", "exp_avg_sq"}), frozenset()

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        for state in states:
            state["step"] += 1
        update = _single_tensor_proxadam if group["foreach"] is False else _multi_tensor_proxadam
        update(
            params,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["step"] for state in states],
            lr=learning_rate(group),
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            lam=group["lam"] if group["penalty"] == "l1" else 0.0,
            maximize=group["maximize"],
        )


def _single_tensor_proxadam(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[int],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    lam: float,
    maximize: bool,
) -> None:
    for i, param in enumerate(params):
        grad = grads[i].to(exp_avgs[i].dtype)
        first, denominator = adam_direction_(
            -grad if maximize else grad,
            exp_avgs[i],
            exp_avg_sqs[i],
            step=steps[i],
            betas=betas,
            eps=eps,
        )
        theta = param.to(first.dtype) * (1 - lr * weight_decay) - lr * first / denominator
        param.copy_(theta.sign() * (theta.abs() - lr * lam / denominator).clamp(min=0))


def _multi_tensor_proxadam(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[int],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    lam: float,
    maximize: bool,
) -> None:
    """Adam's kernel on the parameters, then thresholds, tensor by tensor to save memory."""
    thetas = widen(params)
    scale_(thetas, 1 - lr * weight_decay)
    adam_(
        thetas,
        grads,
        exp_avgs,
        exp_avg_sqs,
        steps=steps,
        lr=lr,
        betas=betas,
        eps=eps,
        maximize=maximize,
    )
    for theta, exp_avg_sq, step in zip(thetas, exp_avg_sqs, steps, strict=True):
        if lam == 0:
            break
        threshold = exp_avg_sq.sqrt().div_(math.sqrt(1 - betas[1] ** step)).add_(eps)
        threshold.reciprocal_().mul_(lr * lam)
        # shrink(x, t) = x - clamp(x, -t, t), exactly.
        theta.sub_(torch.clamp(theta, -threshold, threshold))
    narrow_(params, thetas)
