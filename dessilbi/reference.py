"""The readable specification of one DessiLBI step, parameter by parameter (`foreach=False`)."""

from __future__ import annotations

from torch import Tensor

from bregman.optimizer import state_dtype
from dessilbi.scaling import beta, gamma_of, magnitudes, support_size
from dessilbi.settings import Settings, Slot


def reference_step(slots: list[Slot], settings: Settings) -> None:
    """Eqs. 9a-c, 12-15: all tensors on their right-hand sides are those before the step."""
    for slot in slots:
        before = slot.param.to(state_dtype(slot.param), copy=True)
        gradient = slot.grad + settings.coupled_decay * before
        if slot.dual is None:
            _descend(slot, before, _momentum(slot, gradient, settings), settings)
        else:
            _split_step(slot, before, gradient, settings)


def _split_step(slot: Slot, before: Tensor, gradient: Tensor, settings: Settings) -> None:
    gamma = gamma_of(slot, settings)
    residual = before - gamma
    if settings.coupling_in_momentum:  # 12a as printed
        direction = _momentum(slot, gradient + residual / settings.nu, settings)
    else:  # the published code
        direction = _momentum(slot, gradient, settings) + residual / settings.nu
    _descend(slot, before, direction, settings)
    _select(slot, before, gamma, residual, settings)


def _momentum(slot: Slot, gradient: Tensor, settings: Settings) -> Tensor:
    if slot.buffer is None:
        return gradient
    slot.buffer.mul_(settings.momentum).add_(gradient)
    return gradient + settings.momentum * slot.buffer if settings.nesterov else slot.buffer


def _descend(slot: Slot, before: Tensor, direction: Tensor, settings: Settings) -> None:
    """Eqs. 9a, 12b, 13b."""
    step = settings.kappa * settings.lr * direction + settings.shrinkage * before
    slot.param.copy_(before - step)


def _select(
    slot: Slot, before: Tensor, gamma: Tensor, residual: Tensor, settings: Settings
) -> None:
    """The step of V (9b, 14a), and of Gamma where it is stored (14b with the W before the step)."""
    assert slot.dual is not None
    rate = settings.lr / settings.nu
    if settings.scaling == "none":
        slot.dual.add_(residual, alpha=rate)
        return
    weight = slot.param if settings.scaling == "released" else before
    sizes = magnitudes(weight, slot.penalty, slot.dual.dtype)
    selected = support_size(gamma, slot.penalty)
    slot.dual.add_(beta(sizes, selected, settings) * residual, alpha=rate)
    if slot.gamma is not None:
        shrunk = slot.penalty.prox(slot.dual, settings.lam)
        slot.gamma.copy_(settings.kappa * sizes * shrunk)
