"""The fast form of one step: torch's fused SGD kernel on W, and in-place passes for V.

Gamma exists only as the residual W - Gamma of a few blocks at a time. On the CPU the lists are cut
into blocks that stay in the cache; elsewhere all is done at once.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from bregman.optimizer import state_dtype
from bregman.updates import fused_buckets, scale_
from dessilbi.scaling import beta, gamma_of, magnitudes, support_size
from dessilbi.settings import Settings, Slot

#: Entries that are stepped together on the CPU: W, V, momentum, gradient and residual fit the cache.
BLOCK_SIZE = 1 << 18


def fast_step(slots: list[Slot], settings: Settings) -> None:
    """The same step as `dessilbi.reference.reference_step`."""
    increment_version([slot.param for slot in slots])
    if slots[0].dual is None:
        update, whole = _update_weights, False
    elif settings.scaling == "none":
        update, whole = _split_step, False
    else:
        update, whole = _scaled_step, True  # eq. 15 counts over a layer
    for block in _blocks(slots, whole=whole):
        update(block, settings)


def _split_step(slots: list[Slot], settings: Settings) -> None:
    duals: list[Tensor] = [slot.dual for slot in slots]  # pyright: ignore[reportAssignmentType]
    residuals = [torch.empty_like(dual) for dual in duals]
    for slot, dual, residual in zip(slots, duals, residuals, strict=True):
        slot.penalty.prox_into(dual, settings.lam, residual)
        torch.sub(slot.param, residual, alpha=settings.kappa, out=residual)
    torch._foreach_add_(duals, residuals, alpha=settings.lr / settings.nu)
    _update_weights(slots, settings, residuals)


def _scaled_step(slots: list[Slot], settings: Settings) -> None:
    released = settings.scaling == "released"
    gammas = [gamma_of(slot, settings) for slot in slots]
    selected = [
        support_size(gamma, slot.penalty) for gamma, slot in zip(gammas, slots, strict=True)
    ]
    residuals = [slot.param - gamma for slot, gamma in zip(slots, gammas, strict=True)]
    if released:  # by the size of the new weights
        _update_weights(slots, settings, residuals)
    for slot, count, residual in zip(slots, selected, residuals, strict=True):
        assert slot.dual is not None
        sizes = magnitudes(slot.param, slot.penalty, slot.dual.dtype)
        factor = beta(sizes, count, settings)
        slot.dual.addcmul_(residual, factor, value=settings.lr / settings.nu)
        if slot.gamma is not None:
            slot.penalty.prox_into(slot.dual, settings.lam, slot.gamma)
            slot.gamma.mul_(sizes.mul_(settings.kappa))
    if not released:
        _update_weights(slots, settings, residuals)


def _update_weights(
    slots: list[Slot], settings: Settings, residuals: list[Tensor] | None = None
) -> None:
    """The step of W, given W - Gamma from before it."""
    params, grads = [slot.param for slot in slots], [slot.grad for slot in slots]
    scale_(params, 1.0 - settings.shrinkage)
    if residuals is None:
        _sgd_(slots, grads, settings)
    elif settings.coupling_in_momentum:
        coupled = list(torch._foreach_mul(residuals, 1.0 / settings.nu))
        torch._foreach_add_(coupled, grads)
        _sgd_(slots, coupled, settings)
    else:
        _sgd_(slots, grads, settings)
        rate = settings.kappa * settings.lr / settings.nu
        torch._foreach_add_(params, residuals, alpha=-rate)


def _sgd_(slots: list[Slot], grads: list[Tensor], settings: Settings) -> None:
    """`v <- tau v + g + beta W;  W <- W - kappa lr v` as `torch.optim.SGD` has it."""
    lists = [[slot.param for slot in slots], grads]
    if settings.momentum:
        lists.append([slot.buffer for slot in slots])  # pyright: ignore[reportArgumentType]
    elif not settings.coupled_decay:
        torch._foreach_add_(lists[0], grads, alpha=-settings.kappa * settings.lr)
        return
    buckets, rest = fused_buckets("_fused_sgd_", *lists)
    for params, gradients, *buffers in buckets:
        torch._fused_sgd_(
            params,
            gradients,
            buffers[0] if buffers else [],
            weight_decay=settings.coupled_decay,
            momentum=settings.momentum,
            lr=settings.kappa * settings.lr,
            dampening=0.0,
            nesterov=settings.nesterov,
            maximize=False,
            is_first_step=False,  # the zero buffer is already there
        )
    if rest[0]:
        _foreach_sgd_(*rest, settings=settings)


def _foreach_sgd_(
    params: list[Tensor],
    grads: list[Tensor],
    buffers: list[Tensor] | None = None,
    *,
    settings: Settings,
) -> None:
    directions = [grad.to(state_dtype(param)) for param, grad in zip(params, grads, strict=True)]
    if settings.coupled_decay:
        directions = list(torch._foreach_add(directions, params, alpha=settings.coupled_decay))
    if buffers is not None:
        torch._foreach_mul_(buffers, settings.momentum)
        torch._foreach_add_(buffers, directions)
        if settings.nesterov:
            directions = torch._foreach_add(directions, buffers, alpha=settings.momentum)
        else:
            directions = buffers
    torch._foreach_add_(params, list(directions), alpha=-settings.kappa * settings.lr)


def _blocks(slots: list[Slot], *, whole: bool = False) -> Iterator[list[Slot]]:
    """The parameters, if not `whole` in blocks of rows, in lists of about `BLOCK_SIZE` entries."""
    if not all(slot.param.is_cpu for slot in slots):
        yield slots
        return
    block: list[Slot] = []
    size = 0
    pieces = slots if whole else chain.from_iterable(map(_pieces, slots))
    for piece in pieces:
        if block and size + piece.param.numel() > BLOCK_SIZE:
            yield block
            block, size = [], 0
        block.append(piece)
        size += piece.param.numel()
    yield block


def _pieces(slot: Slot) -> Iterator[Slot]:
    count = slot.param.numel()
    if count <= BLOCK_SIZE or not slot.divisible():
        yield slot
        return
    rows = slot.param.shape[0]
    step = max(1, BLOCK_SIZE * rows // count)
    for start in range(0, rows, step):
        yield slot.rows(start, min(start + step, rows))
