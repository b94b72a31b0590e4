"""AdaBreg: Adam on the dual variable.

Source: Bungert, Roith, Tenbrinck, Burger (2022), Algorithm 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from bregman.births import changes_births, check_births, hold_back_, unborn
from bregman.dual import DualOptimizer, recover_
from bregman.groups import Group
from bregman.optimizer import Params, group_penalty, learning_rate, zero_state
from bregman.penalties import Penalty
from bregman.thresholds import advance
from bregman.updates import adam_, decay_
from bregman.validation import check_decay, check_non_negative


class AdaBreg(DualOptimizer):
    r"""Adam's update of the dual variable, then the prox.

    With gradient g, step count k and elastic net `J_delta = lam J + |.|^2 / (2 delta)`:

        v     <- theta / delta + lam p,  p a subgradient of J at theta              (first step)
        m1    <- beta1 m1 + (1 - beta1) g,      m2 <- beta2 m2 + (1 - beta2) g^2
        d     <- sqrt(m2 / (1 - beta2^k)) + eps
        v     <- v - lr (m1 / (1 - beta1^k)) / d - lr weight_decay theta
        theta <- prox_{delta lam J}(delta v)

    With `penalty="none"` and `delta=1` AdaBreg is Adam. A dual moves by about lr per step whatever the
    size of the gradient, so no weight of a sparse start enters before about lam / lr steps, and lam
    has to be larger than for LinBreg by a factor of five or so at the usual learning rates.

    Args:
        params: Parameters, named parameters, or groups of them (see `bregman.penalize`).
        lr: Learning rate. A tensor of one number is read at every step: keep it on the CPU.
        betas: Decay of the two moments, each in [0, 1).
        eps: Number >= 0 that is added to the root of the second moment.
        delta: Weight of the elastic net, > 0: scales the size of the parameters, not their support.
        weight_decay: Rate of decoupled decay. Decay acts through the dual, so only on active weights.
        penalty: Name of J: `none`, `l1`, `l12`, `nonnegative`, `nuclear` (see `bregman.penalties`).
        lam: Weight lambda of J. A change takes effect at the next step.
        group: What forms one group of `l12` (see `bregman.groups`).
        group_weight: `"sqrt"`: a group counts with the square root of its size; `"none"`: with 1.
        legacy_bias_correction: Leave out the factor `1 / (1 - beta1^k)`, as the authors' code did
            before 2024.
        maximize: Ascend on the loss instead of descend.
        foreach: False: the single-tensor reference; None or True: fused kernels where torch has
            them.
        threshold: Threshold of the prox. `"constant"`: lam; `"cumulative"`: lam times the sum of the
            learning rates, which makes the method RDA with Adam's steps (torchao's PAT) and its start
            dense; `"power"`: a slower growth, as in gRDA (see `bregman.thresholds`).
        mu: Exponent of `"power"`, in [0, 1).
        dual_leak: Share of the dual that a zero weight loses per unit of lr (see `bregman.births`).
        birth_lr: Rate at which the dual of a zero weight follows the raw gradient; None: the dual of a
            zero weight follows Adam's step, as every other dual does.

    Raises:
        ValueError: A value is out of range, or the penalty does not fit a parameter.

    State per parameter: `step` (an int), `dual`, `exp_avg`, `exp_avg_sq`; float32 or wider.
    """

    _kind = "AdaBreg"

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        delta: float = 1.0,
        weight_decay: float = 0.0,
        penalty: str = "none",
        lam: float = 0.0,
        group: Group | Sequence[int] | None = None,
        group_weight: str = "sqrt",
        legacy_bias_correction: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        threshold: str = "constant",
        mu: float = 0.6,
        dual_leak: float = 0.0,
        birth_lr: float | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "delta": delta,
            "weight_decay": weight_decay,
            "penalty": penalty,
            "lam": lam,
            "group": group,
            "group_weight": group_weight,
            "legacy_bias_correction": legacy_bias_correction,
            "maximize": maximize,
            "foreach": foreach,
            "threshold": threshold,
            "mu": mu,
            "elapsed": 0.0,
            "elapsed_steps": 0,
            "dual_leak": dual_leak,
            "birth_lr": birth_lr,
        }
        super().__init__(params, defaults)

    def _check_group(self, group: dict[str, Any]) -> None:
        check_adam_options(group)
        check_births(group)
        super()._check_group(group)

    def _init_state(self, param: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        super()._init_state(param, group, state)
        state.update(step=0, exp_avg=zero_state(param), exp_avg_sq=zero_state(param))

    def _entries(self, group: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset({"step", "dual", "exp_avg", "exp_avg_sq"}), frozenset()

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        for state in states:
            state["step"] += 1
        update = _single_tensor_adabreg if group["foreach"] is False else _multi_tensor_adabreg
        lr, duals = learning_rate(group), [state["dual"] for state in states]
        before = unborn(params, duals) if changes_births(group) else None
        lam = advance(group, lr)
        update(
            params,
            grads,
            duals,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["step"] for state in states],
            group_penalty(group),
            lr=lr,
            betas=group["betas"],
            eps=group["eps"],
            delta=group["delta"],
            weight_decay=group["weight_decay"],
            lam=lam,
            legacy_bias_correction=group["legacy_bias_correction"],
            maximize=group["maximize"],
        )
        if before is not None:
            hold_back_(
                duals,
                before,
                grads,
                lr=lr,
                dual_leak=group["dual_leak"],
                birth_lr=group["birth_lr"],
                maximize=group["maximize"],
            )
            recover_(params, duals, group_penalty(group), lam=lam, delta=group["delta"])


def check_adam_options(group: dict[str, Any]) -> None:
    """Raise ValueError unless `betas` and `eps` of the group are in range; make `betas` a tuple."""
    if not isinstance(group["betas"], list | tuple) or len(group["betas"]) != 2:
        raise ValueError(f"Invalid betas: {group['betas']!r} (must be two numbers in [0, 1))")
    group["betas"] = tuple(group["betas"])
    for position, beta in enumerate(group["betas"]):
        check_decay(f"betas[{position}]", beta)
    check_non_negative("eps", group["eps"])


def adam_direction_(
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    *,
    step: int,
    betas: tuple[float, float],
    eps: float,
    correct_first: bool = True,
) -> tuple[Tensor, Tensor]:
    """Update both moments in place; return `(m1, sqrt(m2) + eps)`, bias-corrected, as in Adam."""
    exp_avg.lerp_(grad, 1 - betas[0])
    exp_avg_sq.mul_(betas[1]).addcmul_(grad, grad, value=1 - betas[1])
    first = exp_avg / (1 - betas[0] ** step) if correct_first else exp_avg
    return first, exp_avg_sq.sqrt().div_(math.sqrt(1 - betas[1] ** step)).add_(eps)


def _single_tensor_adabreg(
    params: list[Tensor],
    grads: list[Tensor],
    duals: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[int],
    penalty: Penalty,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    delta: float,
    weight_decay: float,
    lam: float,
    legacy_bias_correction: bool,
    maximize: bool,
) -> None:
    """Algorithm 3 as it is printed."""
    for i, (param, dual) in enumerate(zip(params, duals, strict=True)):
        grad = grads[i].to(dual.dtype)
        first, denominator = adam_direction_(
            -grad if maximize else grad,
            exp_avgs[i],
            exp_avg_sqs[i],
            step=steps[i],
            betas=betas,
            eps=eps,
            correct_first=not legacy_bias_correction,
        )
        if weight_decay != 0:
            dual.sub_(param, alpha=lr * weight_decay)
        dual.addcdiv_(first, denominator, value=-lr)
        param.copy_(penalty.prox(delta * dual, delta * lam))


def _multi_tensor_adabreg(
    params: list[Tensor],
    grads: list[Tensor],
    duals: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[int],
    penalty: Penalty,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    delta: float,
    weight_decay: float,
    lam: float,
    legacy_bias_correction: bool,
    maximize: bool,
) -> None:
    """Adam's kernel on the duals, then one pass that writes the parameters."""
    decay_(duals, params, rate=lr * weight_decay)
    adam_(
        duals,
        grads,
        exp_avgs,
        exp_avg_sqs,
        steps=steps,
        lr=lr,
        betas=betas,
        eps=eps,
        maximize=maximize,
        correct_first=not legacy_bias_correction,
    )
    recover_(params, duals, penalty, lam=lam, delta=delta)
