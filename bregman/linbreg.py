"""LinBreg: stochastic linearised Bregman iterations, with or without momentum.

Source: Bungert, Roith, Tenbrinck, Burger (2022), Algorithm 1 (eq. 2.8) and Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from bregman.dual import DualOptimizer, recover_
from bregman.groups import Group
from bregman.optimizer import Params, group_penalty, learning_rate, momentum_buffers
from bregman.penalties import Penalty
from bregman.thresholds import advance
from bregman.updates import decay_, descend_, momentum_
from bregman.validation import check_decay


class LinBreg(DualOptimizer):
    r"""Gradient descent on the dual variable; weights enter one by one while the loss falls.

    With gradient g, learning rate tau and elastic net `J_delta = lam J + |.|^2 / (2 delta)`:

        v     <- theta / delta + lam p,  p a subgradient of J at theta              (first step)
        m     <- beta m + (1 - beta) tau g                          (m = tau g without momentum)
        v     <- v - m - tau weight_decay theta
        theta <- prox_{delta lam J}(delta v)

    With `penalty="none"` and `delta=1` LinBreg is SGD; with momentum it is
    `torch.optim.SGD(lr=(1 - beta) * tau, momentum=beta)` at constant tau. m contains the learning rate,
    as in Algorithm 2, so that a change of the learning rate acts with delay.

    Args:
        params: Parameters, named parameters, or groups of them (see `bregman.penalize`).
        lr: Learning rate tau. A tensor of one number is read at every step: keep it on the CPU.
        momentum: beta of Algorithm 2, in [0, 1).
        delta: Weight of the elastic net, > 0: scales the size of the parameters, not their support.
        weight_decay: Rate of decoupled decay. Decay acts through the dual, so only on active weights.
        penalty: Name of J: `none`, `l1`, `l12`, `nonnegative`, `nuclear` (see `bregman.penalties`).
        lam: Weight lambda of J. A change takes effect at the next step.
        group: What forms one group of `l12` (see `bregman.groups`).
        group_weight: `"sqrt"`: a group counts with the square root of its size; `"none"`: with 1.
        maximize: Ascend on the loss instead of descend.
        foreach: False: the single-tensor reference; None or True: fused kernels where torch has
            them.
        threshold: Threshold of the prox. `"constant"`: lam; `"cumulative"`: lam times the sum of the
            learning rates, which makes the method RDA and its start dense; `"power"`: a slower growth,
            which makes the method gRDA (see `bregman.thresholds`).
        mu: Exponent of `"power"`, in [0, 1).

    Raises:
        ValueError: A value is out of range, or the penalty does not fit a parameter.

    State per parameter: `dual` and, with momentum, `momentum_buffer`; float32 or wider.
    """

    _kind = "LinBreg"

    def __init__(
        self,
        params: Params,
        lr: float | Tensor,
        *,
        momentum: float = 0.0,
        delta: float = 1.0,
        weight_decay: float = 0.0,
        penalty: str = "none",
        lam: float = 0.0,
        group: Group | Sequence[int] | None = None,
        group_weight: str = "sqrt",
        maximize: bool = False,
        foreach: bool | None = None,
        threshold: str = "constant",
        mu: float = 0.6,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "delta": delta,
            "weight_decay": weight_decay,
            "penalty": penalty,
            "lam": lam,
            "group": group,
            "group_weight": group_weight,
            "maximize": maximize,
            "foreach": foreach,
            "threshold": threshold,
            "mu": mu,
            "elapsed": 0.0,
            "elapsed_steps": 0,
        }
        super().__init__(params, defaults)

    def _check_group(self, group: dict[str, Any]) -> None:
        check_decay("momentum", group["momentum"])
        super()._check_group(group)

    def _entries(self, group: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset({"dual"}), frozenset({"momentum_buffer"})

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        update = _single_tensor_linbreg if group["foreach"] is False else _multi_tensor_linbreg
        lr = learning_rate(group)
        update(
            params,
            grads,
            [state["dual"] for state in states],
            momentum_buffers(params, states) if group["momentum"] else [],
            group_penalty(group),
            lr=lr,
            momentum=group["momentum"],
            delta=group["delta"],
            weight_decay=group["weight_decay"],
            lam=advance(group, lr),
            maximize=group["maximize"],
        )


def _single_tensor_linbreg(
    params: list[Tensor],
    grads: list[Tensor],
    duals: list[Tensor],
    momentum_buffers: list[Tensor],
    penalty: Penalty,
    *,
    lr: float,
    momentum: float,
    delta: float,
    weight_decay: float,
    lam: float,
    maximize: bool,
) -> None:
    """Algorithms 1 and 2 as they are printed."""
    for i, (param, grad, dual) in enumerate(zip(params, grads, duals, strict=True)):
        grad = -grad if maximize else grad
        if weight_decay != 0:
            dual.sub_(param, alpha=lr * weight_decay)
        if momentum != 0:
            buffer = momentum_buffers[i]
            buffer.mul_(momentum).add_(grad, alpha=(1 - momentum) * lr)
            dual.sub_(buffer)
        else:
            dual.sub_(grad, alpha=lr)
        param.copy_(penalty.prox(delta * dual, delta * lam))


def _multi_tensor_linbreg(
    params: list[Tensor],
    grads: list[Tensor],
    duals: list[Tensor],
    momentum_buffers: list[Tensor],
    penalty: Penalty,
    *,
    lr: float,
    momentum: float,
    delta: float,
    weight_decay: float,
    lam: float,
    maximize: bool,
) -> None:
    """SGD's kernel on the duals, then one pass that writes the parameters."""
    decay_(duals, params, rate=lr * weight_decay)
    if momentum != 0:
        momentum_(duals, grads, momentum_buffers, lr=lr, momentum=momentum, maximize=maximize)
    else:
        descend_(duals, grads, lr=lr, maximize=maximize)
    recover_(params, duals, penalty, lam=lam, delta=delta)
