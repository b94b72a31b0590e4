"""Healing: the last steps of training freeze the support, and the remaining weights recover."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from bregman.dual import DualOptimizer
from bregman.penalties import make_penalty
from bregman.thresholds import level


class Healing:
    """Freezes the support of the penalised weights from one step on, under any optimiser.

    A frozen zero stays zero: its gradient is cleared before every step, and the weight itself is set to
    zero after every step. By default the non-zero weights keep their penalty. With `debias` the penalty
    is removed when the support is frozen, and the non-zero weights do not jump: lam becomes 0, and the
    dual of a dual optimiser becomes theta / delta. The following steps are then those of the optimiser
    without a penalty, on the support.

    Args:
        optimizer: An optimiser whose groups hold `penalty` and `lam`. Groups without a penalty are left
            alone.
        start: Number of steps after which the support is frozen.
        debias: Whether the penalty is removed from the non-zero weights.
    """

    def __init__(self, optimizer: Optimizer, start: int, *, debias: bool = False) -> None:
        self._optimizer = optimizer
        self._start = start
        self._debias = debias
        self._taken = 0
        self._supports: list[Tensor] = []
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    @property
    def active(self) -> bool:
        """Whether the support is frozen."""
        return self._taken >= self._start

    def pass_by(self) -> None:
        """Count a step that was taken on these weights without this optimiser.

        Raises:
            RuntimeError: The support is frozen already.
        """
        if self.active:
            raise RuntimeError("the support is frozen: take this step with the optimiser itself")
        self._taken += 1

    @torch.no_grad()
    def _before(self, *_: Any) -> None:
        if not self.active:
            return
        if not self._supports:
            self._freeze()
        for weight, support in zip(self._weights(), self._supports, strict=True):
            if weight.grad is not None:
                weight.grad.mul_(support)

    @torch.no_grad()
    def _after(self, *_: Any) -> None:
        self._taken += 1
        for weight, support in zip(self._weights(), self._supports, strict=False):
            weight.mul_(support)

    def _freeze(self) -> None:
        self._supports = [weight != 0 for weight in self._weights()]
        for weight, support in zip(self._weights(), self._supports, strict=True):
            for name, value in self._optimizer.state.get(weight, {}).items():
                # The momentum of a frozen zero would go on moving it. The dual keeps the gradients that
                # a zero has gathered so far.
                if isinstance(value, Tensor) and value.shape == weight.shape and name != "dual":
                    value.mul_(support)
        if self._debias:
            for group in self._groups():
                self._take_away(group)

    def _take_away(self, group: dict[str, Any]) -> None:
        kind = {name: group[name] for name in ("group", "group_weight") if name in group}
        penalty, threshold = make_penalty(group["penalty"], **kind), 0.0
        if isinstance(self._optimizer, DualOptimizer):
            threshold = level(group)
        for weight in group["params"]:
            dual = self._optimizer.state.get(weight, {}).get("dual")
            if isinstance(dual, Tensor):
                dual.sub_(penalty.subgradient(weight.to(dual.dtype), threshold))
                dual.mul_(weight != 0)
        group["lam"] = 0.0

    def _groups(self) -> list[dict[str, Any]]:
        return [g for g in self._optimizer.param_groups if g.get("penalty", "none") != "none"]

    def _weights(self) -> list[Tensor]:
        return [weight for group in self._groups() for weight in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """Number of steps and masks of the support, one for each penalised weight."""
        return {"taken": self._taken, "supports": [mask.clone() for mask in self._supports]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._taken = state["taken"]
        weights = self._weights()
        self._supports = [
            mask.to(weight.device)
            for mask, weight in zip(state["supports"], weights, strict=bool(state["supports"]))
        ]
