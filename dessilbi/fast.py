"""The fast form of one step: torch's fused SGD kernel on W, and few passes over V.

Gamma exists only as the residual W - Gamma of a few blocks at a time. On the CPU the lists are cut
into blocks that stay in the cache; on other devices a list is one block. In small networks calls cost
more than arithmetic: one call updates a whole list, and the numbers of all groups of weights lie in one
vector (`dessilbi.magnitudes`).
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from bregman.elementwise import L1, soft_threshold_into
from bregman.optimizer import state_dtype
from bregman.updates import fused_buckets, narrow_, scale_, widen
from dessilbi.columns import Columns, JointPlan, Plan
from dessilbi.magnitudes import Magnitudes, betas_of
from dessilbi.settings import Settings

#: Entries that are stepped together on the CPU: W, V, momentum, gradient and residual fit the cache.
BLOCK_SIZE = 1 << 19


def fast_step(columns: Columns, settings: Settings, kept: Plan | None = None) -> Plan | None:
    """Take the step that `dessilbi.reference.reference_step` specifies.

    Args:
        columns: The tensors of a parameter group.
        settings: The numbers of the group.
        kept: The return value of the last step of this group.

    Returns:
        A plan for the next step of a small network, where a new plan costs more than the arithmetic;
        None for other networks.
    """
    if kept is None or not kept.serves(columns):
        kept = Plan(columns, BLOCK_SIZE) if columns.is_small(BLOCK_SIZE) else None
    if kept is not None:
        _run(kept, settings)
        kept.release()
        return kept
    for part in columns.of_one_kind():
        params = part.params
        narrow = params[0].dtype != state_dtype(params[0])
        if narrow:  # copies in the dtype of the state take the step and are rounded once
            part.params = widen(params)
        whole = bool(part.duals) and settings.scaling != "none"  # eq. 15 counts over a layer
        _run(Plan(part, BLOCK_SIZE, whole=whole), settings)
        if narrow:
            narrow_(params, part.params)
    return None


def joint_step(joint: JointPlan, settings: Sequence[Settings]) -> None:
    """A step of all groups of a small network, which agree in all but lam, in fewer calls.

    Args:
        joint: The tensors.
        settings: The numbers of each group, without `scaling` and `coupling_in_momentum`.
    """
    common, whole = settings[0], joint.whole
    residuals: list[Tensor] = []
    for plan, one in zip(joint.plans, settings, strict=True):
        if plan is not None:
            plan.find_factors(one.lam)
            for block in plan.blocks:
                residuals += _residuals(block, one)
    increment_version(whole.params)
    scale_(whole.params, 1.0 - common.shrinkage)
    _sgd_(whole, whole.grads, common)
    if residuals:
        rate = common.lr / common.nu
        torch._foreach_add_(joint.duals, residuals, alpha=rate)
        torch._foreach_add_(joint.params, residuals, alpha=-common.kappa * rate)
    whole.grads = []


def _run(plan: Plan, settings: Settings) -> None:
    if not plan.split or settings.coupling_in_momentum:
        increment_version(plan.params)  # the fused kernel does not increment it
    if not plan.split:
        for block in plan.blocks:
            _update_weights(block, settings)
    elif settings.scaling == "none":
        plan.find_factors(settings.lam)
        for block in plan.blocks:
            residuals = _residuals(block, settings)
            torch._foreach_add_(block.duals, residuals, alpha=settings.lr / settings.nu)
            _update_weights(block, settings, residuals)
    else:
        for block in plan.blocks:
            _scaled_step(block, settings)


def _residuals(columns: Columns, settings: Settings) -> list[Tensor]:
    """W - Gamma, with Gamma = kappa prox(V)."""
    params, duals = columns.params, columns.duals
    if columns.factors:
        return list(torch._foreach_addcmul(params, duals, columns.factors, value=-settings.kappa))
    gammas = []
    for dual, penalty in zip(duals, columns.penalties, strict=True):
        if isinstance(penalty, L1):
            gamma = torch._C._nn.softshrink(dual, settings.lam)  # pyright: ignore[reportAttributeAccessIssue]
        else:
            gamma = torch.empty_like(dual)
            penalty.prox_into(dual, settings.lam, gamma)
        gammas.append(gamma)
    if settings.kappa != 1:
        torch._foreach_mul_(gammas, settings.kappa)
    return list(torch._foreach_sub(params, gammas))


def _scaled_step(columns: Columns, settings: Settings) -> None:
    params, gammas = columns.params, columns.gammas
    sizes = Magnitudes(params, columns.penalties).measure(params)
    if settings.scaling == "released":
        gammas = [torch.empty_like(dual) for dual in columns.duals]
        _write_gammas(gammas, columns, sizes.flat.clamp(min=1.0), sizes, settings)
    selected = sizes.like().count(gammas)
    residuals = list(torch._foreach_sub(params, gammas))
    if settings.scaling == "released":  # beta takes the size of the new weights
        _update_weights(columns, settings, residuals)
        sizes.measure(params)
    betas = betas_of(selected, sizes, settings)
    rate = settings.lr / settings.nu
    torch._foreach_addcmul_(columns.duals, residuals, betas, value=rate)
    if settings.scaling == "magnitude":
        _write_gammas(gammas, columns, sizes.flat, sizes, settings)
        _update_weights(columns, settings, residuals)


def _write_gammas(
    gammas: list[Tensor], columns: Columns, scale: Tensor, sizes: Magnitudes, settings: Settings
) -> None:
    """`Gamma <- kappa scale prox(V)`, where scale is one number per group."""
    duals, scale = columns.duals, settings.kappa * scale
    factors = sizes.like().measure(duals, entries=False)
    factors.shrink_(settings.lam)
    factors.flat.mul_(scale)
    for gamma, dual, factor, part, grouped in zip(
        gammas, duals, factors.parts, sizes.views(scale), sizes.grouped, strict=True
    ):
        if grouped:
            torch.mul(dual, factor, out=gamma)
        else:
            soft_threshold_into(dual, settings.lam, gamma)
            gamma.mul_(part)


def _update_weights(
    columns: Columns, settings: Settings, residuals: list[Tensor] | None = None
) -> None:
    """The step of W, given the residuals W - Gamma from before the step."""
    params, grads = columns.params, columns.grads
    scale_(params, 1.0 - settings.shrinkage)
    if residuals is None:
        _sgd_(columns, grads, settings)
    elif settings.coupling_in_momentum:
        coupled = list(torch._foreach_mul(residuals, 1.0 / settings.nu))
        torch._foreach_add_(coupled, grads)
        _sgd_(columns, coupled, settings)
    else:
        _sgd_(columns, grads, settings)
        rate = settings.kappa * settings.lr / settings.nu
        torch._foreach_add_(params, residuals, alpha=-rate)


def _sgd_(columns: Columns, grads: list[Tensor], settings: Settings) -> None:
    """`v <- tau v + g + beta W;  W <- W - kappa lr v`, as in `torch.optim.SGD`."""
    params, rate = columns.params, settings.kappa * settings.lr
    if not settings.momentum and not settings.coupled_decay:
        torch._foreach_add_(params, grads, alpha=-rate)
        return
    lists = [params, grads, *([columns.buffers] if settings.momentum else [])]
    if columns.kernel:
        buckets, rest = [lists], [[]]
    else:
        buckets, rest = fused_buckets("_fused_sgd_", *lists)
    for targets, gradients, *buffers in buckets:
        torch._fused_sgd_(
            targets,
            gradients,
            buffers[0] if buffers else [],
            weight_decay=settings.coupled_decay,
            momentum=settings.momentum,
            lr=rate,
            dampening=0.0,
            nesterov=settings.nesterov,
            maximize=False,
            is_first_step=False,  # the buffer exists and holds zeros
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
