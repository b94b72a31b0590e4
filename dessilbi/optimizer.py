"""DessiLBI: the split iteration (W, V, Gamma) as a torch optimiser.

Source: Fu, Liu, Li, Zhong, Sun, Zeng, Yao, "Exploring Structural Sparsity of Deep Networks via
Inverse Scale Spaces", eqs. 9a-c and 12-15.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bregman.groups import Group
from bregman.optimizer import (
    Collected,
    Params,
    PenalisedOptimizer,
    momentum_buffers,
    zero_state,
)
from bregman.validation import check_choice, check_decay, check_positive
from dessilbi import fast
from dessilbi.choices import Scaling
from dessilbi.columns import Columns, JointPlan, Plan, fit_one_block
from dessilbi.fast import fast_step, joint_step
from dessilbi.reference import reference_step
from dessilbi.scaling import gamma_of
from dessilbi.settings import Settings, Slot, can_join, split_penalties, split_penalty


class DessiLBI(PenalisedOptimizer):
    r"""SGD on dense weights W, coupled to a sparse copy Gamma that selects structure on the way.

    The augmented loss is `L_bar(W, Gamma) = L(W) + |W - Gamma|^2 / (2 nu)` (eq. 7). With gradient g
    of the data loss L, learning rate alpha and decay beta, from `V = Gamma = 0`:

        v     <- tau v + g + beta W                         (v = g + beta W without momentum)
        W'    <- W - kappa alpha (v + (W - Gamma) / nu)                       (9a, 12, 13)
        V     <- V + (alpha / nu) (W - Gamma)                                 (9b, pre-update W)
        Gamma <- kappa prox_{lam Omega}(V)                                    (9c)

    Gamma is zero at first, and its groups become non-zero one after the other: groups whose weights
    keep a direction during training come first. Without `scaling`, V - Gamma / kappa is a subgradient of
    lam Omega at Gamma at all times. Parameters with `penalty="none"` take plain steps of SGD with the
    learning rate kappa alpha.

    Args:
        params: Parameters, named parameters, or groups of them, e.g. of
            `bregman.penalize(model, FILTER_RULES, lam=1.0)`. Biases and scales of normalisation
            layers belong in a group with `penalty="none"`.
        lr: Learning rate alpha. A tensor of one number is read at every step: keep it on the CPU.
        kappa: Factor of the steps of W and of Gamma, > 0.
        nu: Looseness of the coupling, > 0: a larger nu ties W less to Gamma.
        penalty: Name of Omega: `none`, `l1`, `l12`, `nonnegative`, `nuclear`.
        group: For `l12`: what forms one group (see `bregman.groups`). With `"filter"`, a 2-D weight
            is penalised entry by entry. Other penalties need None.
        group_weight: `"none"`: every group counts with 1, as lam = 1 of the paper requires;
            `"sqrt"`: a group counts with the square root of its size.
        lam: Weight of Omega; `threshold_on_schedule` gives the threshold of selection that follows.
        momentum: tau, in [0, 1), undamped as in `torch.optim.SGD`.
        nesterov: Look ahead along the momentum, as `torch.optim.SGD` does.
        weight_decay: beta, >= 0.
        coupling_in_momentum: True: eq. 12a as printed, the coupling goes through the momentum and
            acts 1 / (1 - tau) times as strongly. False: the coupling is added to the momentum, as in the
            published code and tables.
        decoupled_weight_decay: True: eq. 13b as printed, W loses the share beta at every step
            whatever the learning rate. False: decay is part of the gradient, as in the tables.
        scaling: `"none"`; `"magnitude"`: eqs. 14-15; `"released"`: the form of these equations in the
            published code, which multiplies the steps of V by at most 0.01; see `dessilbi.scaling`.
        scaling_floor: Smallest value of `1 - #supp Gamma / #supp W` in eq. 15 with `magnitude`, in
            [0, 1).
        foreach: False: the single-tensor reference; None or True: fused kernels where torch has
            them.

    Raises:
        ValueError: A value is out of range, or the penalty does not fit a parameter.

    Steps are added to W itself. A bfloat16 or float16 W loses steps below half a unit in its last place,
    and a warning says so; float32 parameters under autocast do not lose them.

    A gradient that is not finite spreads to W at once, where the loss shows it, and through V to
    Gamma. A check would make every step wait for the device. So `gamma`, and with it masks, views and
    paths, raises an error when Gamma is not finite; with penalty `nuclear` the step raises it.

    State per parameter: `dual` (V) where there is a penalty, `momentum_buffer` with momentum, and
    `gamma` with `scaling="magnitude"`; float32 or wider. Otherwise Gamma is computed from V.
    """

    _kind = "DessiLBI"

    def __init__(
        self,
        params: Params,
        lr: float | Tensor,
        *,
        kappa: float = 1.0,
        nu: float = 10.0,
        penalty: str = "l12",
        group: Group | Sequence[int] | None = "filter",
        group_weight: str = "none",
        lam: float = 1.0,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        coupling_in_momentum: bool = False,
        decoupled_weight_decay: bool = False,
        scaling: str = "none",
        scaling_floor: float = 0.01,
        foreach: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "kappa": kappa,
            "nu": nu,
            "penalty": penalty,
            "group": group,
            "group_weight": group_weight,
            "lam": lam,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "coupling_in_momentum": coupling_in_momentum,
            "decoupled_weight_decay": decoupled_weight_decay,
            "scaling": scaling,
            "scaling_floor": scaling_floor,
            "foreach": foreach,
        }
        self._plans: dict[int, Plan | None] = {}
        self._joint: JointPlan | None = None
        self._seen: tuple[Settings, ...] = ()
        self._can_join = False
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._plans, self._joint, self._seen = {}, None, ()  # plans refer to the old groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; see `PenalisedOptimizer.add_param_group`."""
        if param_group.get("penalty", self.defaults["penalty"]) != "l12":
            param_group.setdefault("group", None)  # the default "filter" is for l12 only
        super().add_param_group(param_group)

    @torch.no_grad()
    def gamma(self, param: Tensor) -> Tensor:
        """Gamma of a parameter: a new tensor of its shape; zeros before the first step.

        The host waits for the device, because Gamma is checked for NaN and infinity.

        Raises:
            ValueError: The parameter is not in the optimiser, or carries no penalty.
            RuntimeError: Gamma is not finite: it becomes so two steps after a gradient that is not finite.
        """
        group, state = self._penalised(param)
        if not state:
            return zero_state(param)
        slot = self._slot(group, param, param, state, None)
        gamma = gamma_of(slot, Settings.of(group)).clone()
        if not bool(gamma.isfinite().all()):
            raise RuntimeError(
                f"Gamma of the parameter of shape {tuple(param.shape)} holds NaN or infinity "
                "(training has diverged: lower the learning rate or kappa, or clip the gradients)"
            )
        return gamma

    def dual(self, param: Tensor) -> Tensor:
        """V of a parameter: a new tensor of its shape; zeros before the first step.

        Raises:
            ValueError: The parameter is not in the optimiser, or carries no penalty.
        """
        _, state = self._penalised(param)
        return state["dual"].clone() if state else zero_state(param)

    def has_gamma(self, param: Tensor) -> bool:
        """Whether the optimiser holds this parameter in a group with a penalty."""
        return any(
            param is other
            for group in self.param_groups
            if group["penalty"] != "none"
            for other in group["params"]
        )

    def group_of(self, param: Tensor) -> dict[str, Any]:
        """The parameter group that holds a parameter.

        Raises:
            ValueError: No group holds the parameter.
        """
        for group in self.param_groups:
            if any(param is other for other in group["params"]):
                return group
        raise ValueError(f"no group holds the parameter of shape {tuple(param.shape)}")

    def _penalised(self, param: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        """Group and state (empty before the first step) of a parameter that has a Gamma."""
        group = self.group_of(param)
        if group["penalty"] == "none":
            raise ValueError(
                f"the parameter of shape {tuple(param.shape)} has no Gamma "
                "(its group has penalty 'none')"
            )
        return group, self.state.get(param) or {}

    def _check_group(self, group: dict[str, Any]) -> None:
        check_positive("kappa", group["kappa"])
        check_positive("nu", group["nu"])
        check_decay("momentum", group["momentum"])
        check_choice("scaling", group["scaling"], Scaling)
        check_decay("scaling_floor", group["scaling_floor"])
        if group["nesterov"] and not group["momentum"]:
            raise ValueError("Invalid nesterov: True (needs momentum > 0)")
        if group["scaling"] != "none" and group["penalty"] in ("nonnegative", "nuclear"):
            raise ValueError(
                f"Invalid scaling: {group['scaling']!r} (penalty {group['penalty']!r} has no "
                "magnitudes to scale by; use 'l1', 'l12' or scaling 'none')"
            )
        super()._check_group(group)

    def _init_state(self, param: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        if group["penalty"] != "none":
            state["dual"] = zero_state(param)
            if group["scaling"] == "magnitude":
                state["gamma"] = zero_state(param)

    def _entries(self, group: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
        required = {"dual"} if group["penalty"] != "none" else set()
        if required and group["scaling"] == "magnitude":
            required.add("gamma")
        return frozenset(required), frozenset({"dual", "gamma", "momentum_buffer"})

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        settings = Settings.of(group)
        if group["foreach"] is not False:
            fast_step(self._columns(group, params, grads, states), settings)
            return
        buffers = momentum_buffers(params, states) if group["momentum"] else [None] * len(params)
        tensors = zip(params, grads, states, buffers, strict=True)
        reference_step([self._slot(group, *one) for one in tensors], settings)

    def _update_groups(self, collected: list[Collected]) -> None:
        if not collected or any(group["foreach"] is False for group, *_ in collected):
            super()._update_groups(collected)
            return
        settings = tuple(Settings.of(group) for group, *_ in collected)
        columns = [self._columns(*one) for one in collected]
        if settings != self._seen:  # a comparison of identical objects is fast
            self._seen, self._can_join = settings, can_join(settings)
        if not self._can_join:
            joint = None
        elif self._joint is not None and self._joint.serves(columns):
            joint = self._joint
        else:
            small = fit_one_block(columns, fast.BLOCK_SIZE)
            joint = JointPlan(columns, fast.BLOCK_SIZE) if small else None
        self._joint = joint
        if joint is not None:
            joint_step(joint, settings)
            return
        for (group, *_), own, one in zip(collected, columns, settings, strict=True):
            self._plans[id(group)] = fast_step(own, one, self._plans.get(id(group)))

    @staticmethod
    def _columns(
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        states: list[dict[str, Any]],
    ) -> Columns:
        split = "dual" in states[0]
        return Columns(
            params,
            grads,
            split_penalties(group, params),
            [state["dual"] for state in states] if split else [],
            [state["gamma"] for state in states] if split and "gamma" in states[0] else [],
            momentum_buffers(params, states) if group["momentum"] else [],
        )

    @staticmethod
    def _slot(
        group: dict[str, Any],
        param: Tensor,
        grad: Tensor,
        state: dict[str, Any],
        buffer: Tensor | None,
    ) -> Slot:
        penalty = split_penalty(group, param)
        return Slot(param, grad, state.get("dual"), state.get("gamma"), buffer, penalty)
