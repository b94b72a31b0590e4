"""ProxSGD: proximal gradient descent for the penalised loss (the Lasso and its group variants).

Source: Bungert, Roith, Tenbrinck, Burger (2022), eq. 1.5, with the momentum of Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from bregman.groups import Group
from bregman.optimizer import (
    Params,
    PenalisedOptimizer,
    group_penalty,
    learning_rate,
    momentum_buffers,
    state_dtype,
)
from bregman.penalties import Penalty
from bregman.updates import descend_, momentum_, scale_, widen
from bregman.validation import check_decay


class ProxSGD(PenalisedOptimizer):
    r"""A gradient step, then the prox of `lr lam J`; fixed points are critical for `L + lam J`.

    With gradient g and learning rate tau:

        m     <- beta m + (1 - beta) tau g              (m = tau g without momentum)
        theta <- prox_{tau lam J}(theta - m - tau weight_decay theta)

    In contrast to LinBreg, the limit is the minimiser of the *penalised* loss.

    Args:
        params: Parameters, named parameters, or groups of them (see `bregman.penalize`).
        lr: Learning rate tau. A tensor of one number is read at every step: keep it on the CPU.
        momentum: beta, in [0, 1). The gradient is dampened by 1 - beta as in LinBreg, so that equal
            values of both optimisers mean equal momenta.
        weight_decay: Rate of decoupled decay.
        penalty: Name of J: `none`, `l1`, `l12`, `nonnegative`, `nuclear` (see `bregman.penalties`).
        lam: Weight lambda of J. A change takes effect at the next step.
        group: What forms one group of `l12` (see `bregman.groups`).
        group_weight: `"sqrt"`: a group counts with the square root of its size; `"none"`: with 1.
        maximize: Ascend on the loss instead of descend (the prox stays).
        foreach: False: the single-tensor reference; None or True: fused kernels where torch has
            them.

    Raises:
        ValueError: A value is out of range, or the penalty does not fit a parameter.

    Steps are added to the parameter itself. A bfloat16 or float16 parameter loses steps below half a
    unit in its last place, and a warning says so; LinBreg keeps such steps in its dual, and float32
    parameters under autocast do not lose them.

    State per parameter: `momentum_buffer` with momentum, otherwise none.
    """

    _kind = "ProxSGD"

    def __init__(
        self,
        params: Params,
        lr: float | Tensor,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        penalty: str = "none",
        lam: float = 0.0,
        group: Group | Sequence[int] | None = None,
        group_weight: str = "sqrt",
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "penalty": penalty,
            "lam": lam,
            "group": group,
            "group_weight": group_weight,
            "maximize": maximize,
            "foreach": foreach,
        }
        super().__init__(params, defaults)

    def _check_group(self, group: dict[str, Any]) -> None:
        check_decay("momentum", group["momentum"])
        super()._check_group(group)

    def _init_state(self, param: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        """Leave the state empty: `momentum_buffers` creates the buffers when they are needed."""

    def _entries(self, group: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset(), frozenset({"momentum_buffer"})

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        update = _single_tensor_proxsgd if group["foreach"] is False else _multi_tensor_proxsgd
        update(
            params,
            grads,
            momentum_buffers(params, states) if group["momentum"] else [],
            group_penalty(group),
            lr=learning_rate(group),
            momentum=group["momentum"],
            weight_decay=group["weight_decay"],
            lam=group["lam"],
            maximize=group["maximize"],
        )


def _single_tensor_proxsgd(
    params: list[Tensor],
    grads: list[Tensor],
    momentum_buffers: list[Tensor],
    penalty: Penalty,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    lam: float,
    maximize: bool,
) -> None:
    """Eq. 1.5 as it is printed, plus momentum and decay."""
    for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
        grad = -grad if maximize else grad
        theta = (1 - lr * weight_decay) * param.to(state_dtype(param))
        if momentum != 0:
            buffer = momentum_buffers[i]
            buffer.mul_(momentum).add_(grad, alpha=(1 - momentum) * lr)
            theta.sub_(buffer)
        else:
            theta.sub_(grad, alpha=lr)
        param.copy_(penalty.prox(theta, lr * lam))


def _multi_tensor_proxsgd(
    params: list[Tensor],
    grads: list[Tensor],
    momentum_buffers: list[Tensor],
    penalty: Penalty,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    lam: float,
    maximize: bool,
) -> None:
    """SGD's kernel on the parameters, then the prox in place."""
    thetas = widen(params)
    scale_(thetas, 1 - lr * weight_decay)
    if momentum != 0:
        momentum_(thetas, grads, momentum_buffers, lr=lr, momentum=momentum, maximize=maximize)
    else:
        descend_(thetas, grads, lr=lr, maximize=maximize)
    for param, theta in zip(params, thetas, strict=True):
        penalty.prox_into(theta, lr * lam, param)
