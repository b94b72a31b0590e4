r"""How zero weights of AdaBreg come alive: two remedies against births without evidence.

Adam divides a gradient by its own size, so the dual of a zero weight drifts by about lr a step even
under a gradient of 1e-6 with a constant sign, and every such weight is born after lam / lr steps. For a
zero weight with dual v, gradient g and Adam's step d of size about 1:

- `dual_leak` r:   v <- v - lr d - lr r v. Under a constant d the dual stops at -d / r, so that
  no weight is born while |d| <= r lam.
- `birth_lr` b:    v <- v - b g. A zero weight follows the raw gradient, as in LinBreg with learning
  rate b; weights that are alive follow Adam. A `dual_leak` beside `birth_lr` subtracts lr r v, too.

Both moments see every gradient, so a weight that is born goes on with a warm state.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bregman.validation import check_non_negative


def check_births(group: dict[str, Any]) -> None:
    """Raise ValueError unless the group's `dual_leak` and `birth_lr` are in range."""
    check_non_negative("dual_leak", group["dual_leak"])
    if group["birth_lr"] is not None:
        check_non_negative("birth_lr", group["birth_lr"])


def changes_births(group: dict[str, Any]) -> bool:
    """Whether the group has a penalty and an option that moves duals of zero weights unlike Adam."""
    asked = group["dual_leak"] > 0 or group["birth_lr"] is not None
    return asked and group["penalty"] != "none"


def unborn(params: list[Tensor], duals: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """For each parameter: the mask of its zero weights, and a copy of its dual before the step."""
    return [(param == 0, dual.clone()) for param, dual in zip(params, duals, strict=True)]


def hold_back_(
    duals: list[Tensor],
    before: list[tuple[Tensor, Tensor]],
    grads: list[Tensor],
    *,
    lr: float,
    dual_leak: float,
    birth_lr: float | None,
    maximize: bool,
) -> None:
    """Correct the duals of zero weights, in place, after Adam's step; other duals stay as they are.

    Args:
        duals: Duals after the step.
        before: What `unborn` returned before the step.
        grads: Gradients of the step.
        lr: Adam's learning rate.
        dual_leak: Share of the dual that is lost per unit of lr.
        birth_lr: Rate of the raw gradient; None keeps Adam's step.
        maximize: Whether the loss is ascended.
    """
    for dual, (zero, old), grad in zip(duals, before, grads, strict=True):
        moved = dual
        if birth_lr is not None:
            moved = old.add(grad, alpha=birth_lr if maximize else -birth_lr)
        if dual_leak:
            moved = moved.sub(old, alpha=lr * dual_leak)
        dual.copy_(torch.where(zero, moved, dual))
