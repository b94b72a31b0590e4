"""Fast gradient updates of lists of tensors: torch's own fused kernels, with foreach as fallback.

LinBreg and AdaBreg are SGD and Adam *on the dual variable*, ProxSGD and ProxAdam on the parameter
itself. So the kernels of torch's own optimisers compute these updates in one pass over memory and
without temporary tensors. The kernels are private functions of torch; where they are missing or refuse
a tensor (unequal dtypes, a device without kernels, strides that no permutation makes contiguous),
`torch._foreach_*` computes the update.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from operator import attrgetter

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from bregman.layout import memory_axes
from bregman.optimizer import state_dtype

FUSED_DEVICES = frozenset({"cpu", "cuda"})
FUSED_DTYPES = frozenset({torch.float32, torch.float64})

TensorLists = tuple[list[Tensor], ...]
_DTYPE = attrgetter("dtype")


def descend_(targets: list[Tensor], grads: list[Tensor], *, lr: float, maximize: bool) -> None:
    """`target <- target - lr grad`; `torch._foreach_add_` makes a single pass without a fused kernel."""
    torch._foreach_add_(targets, grads, alpha=lr if maximize else -lr)


def decay_(targets: list[Tensor], params: list[Tensor], *, rate: float) -> None:
    """`target <- target - rate param`: decoupled weight decay."""
    if rate != 0:
        torch._foreach_sub_(targets, params, alpha=rate)


def scale_(targets: list[Tensor], factor: float) -> None:
    """`target <- factor target`."""
    if factor != 1:
        torch._foreach_mul_(targets, factor)


def copy_(targets: list[Tensor], sources: list[Tensor]) -> None:
    """`target <- source`, rounding if the target's dtype is narrower."""
    torch._foreach_copy_(targets, sources)


def widen(params: list[Tensor]) -> list[Tensor]:
    """The parameters; a low-precision one is replaced by a copy in the dtype of its state."""
    return [param.to(state_dtype(param)) for param in params]


def narrow_(params: list[Tensor], wide: list[Tensor]) -> None:
    """Round the copies of `widen` into the parameters: once a step, as the references round."""
    for param, values in zip(params, wide, strict=True):
        if values is not param:
            param.copy_(values)


def momentum_(
    targets: list[Tensor],
    grads: list[Tensor],
    buffers: list[Tensor],
    *,
    lr: float,
    momentum: float,
    maximize: bool,
) -> None:
    """`buffer <- momentum buffer + (1 - momentum) lr grad; target <- target - buffer`."""
    increment_version(targets)
    buckets, rest = fused_buckets("_fused_sgd_", targets, grads, buffers)
    for bucket_targets, bucket_grads, bucket_buffers in buckets:
        # The learning rate belongs inside the buffer: the kernel's own rate is 1 and its weight of
        # the gradient, 1 - dampening, is (1 - momentum) lr. is_first_step is False even at the first
        # step, because the buffer exists already and holds zeros.
        torch._fused_sgd_(
            bucket_targets,
            bucket_grads,
            bucket_buffers,
            weight_decay=0.0,
            momentum=momentum,
            lr=1.0,
            dampening=1.0 - (1.0 - momentum) * lr,
            nesterov=False,
            maximize=maximize,
            is_first_step=False,
        )
    targets, grads, buffers = rest
    if targets:
        torch._foreach_mul_(buffers, momentum)
        descend_(buffers, grads, lr=-(1.0 - momentum) * lr, maximize=maximize)
        torch._foreach_sub_(targets, buffers)


def adam_(
    targets: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    *,
    steps: list[int],
    lr: float,
    betas: tuple[float, float],
    eps: float,
    maximize: bool,
    correct_first: bool = True,
) -> None:
    """One Adam step on every target; `steps[i]` counts from 1 and includes this step.

    With `correct_first=False` the bias of the first moment is left in (AdaBreg as published before
    2024).
    """
    increment_version(targets)
    for step, lists in _by_step(steps, targets, grads, exp_avgs, exp_avg_sqs):
        # The kernel always divides lr by this correction; without it, lr is multiplied by it first.
        rate = lr if correct_first else lr * (1.0 - betas[0] ** step)
        buckets, rest = fused_buckets("_fused_adam_", *lists)
        for bucket in buckets:
            step_tensor = torch.full((), float(step), device=bucket[0][0].device)
            torch._fused_adam_(
                *bucket,  # pyright: ignore[reportCallIssue]
                [],
                [step_tensor] * len(bucket[0]),
                lr=rate,
                beta1=betas[0],
                beta2=betas[1],
                weight_decay=0.0,
                eps=eps,
                amsgrad=False,
                maximize=maximize,
            )
        if rest[0]:
            _foreach_adam_(*rest, step=step, rate=rate, betas=betas, eps=eps, maximize=maximize)


def _foreach_adam_(
    targets: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    *,
    step: int,
    rate: float,
    betas: tuple[float, float],
    eps: float,
    maximize: bool,
) -> None:
    grads = [grad.to(mean.dtype) for grad, mean in zip(grads, exp_avgs, strict=True)]
    if maximize:
        grads = list(torch._foreach_neg(grads))
    torch._foreach_lerp_(exp_avgs, grads, 1.0 - betas[0])
    torch._foreach_mul_(exp_avg_sqs, betas[1])
    torch._foreach_addcmul_(exp_avg_sqs, grads, grads, value=1.0 - betas[1])
    denominators = list(torch._foreach_sqrt(exp_avg_sqs))
    torch._foreach_div_(denominators, (1.0 - betas[1] ** step) ** 0.5)
    torch._foreach_add_(denominators, eps)
    torch._foreach_addcdiv_(targets, exp_avgs, denominators, value=-rate / (1.0 - betas[0] ** step))


def _by_step(steps: list[int], *lists: list[Tensor]) -> Iterator[tuple[int, TensorLists]]:
    """Group tensors by step count; the count of a parameter without a gradient falls behind."""
    if len(set(steps)) == 1:
        yield steps[0], lists
        return
    for step in sorted(set(steps)):
        chosen = [index for index, other in enumerate(steps) if other == step]
        yield step, tuple([tensors[index] for index in chosen] for tensors in lists)


def fused_buckets(kernel: str, *lists: list[Tensor]) -> tuple[list[TensorLists], TensorLists]:
    """Buckets that a fused kernel takes (one device and dtype each), and the rest."""
    rest: TensorLists = tuple([] for _ in lists)
    if not hasattr(torch, kernel):
        return [], lists
    if uniform(lists):  # the usual case, worth a short cut for small networks
        return [lists], rest
    buckets: dict[tuple[torch.device, torch.dtype], TensorLists] = {}
    for tensors in zip(*lists, strict=True):
        views = _kernel_views(tensors)
        if views is None:
            bucket, views = rest, tensors
        else:
            key = (tensors[0].device, tensors[0].dtype)
            bucket = buckets.setdefault(key, tuple([] for _ in lists))
        for column, view in zip(bucket, views, strict=True):
            column.append(view)
    return list(buckets.values()), rest


def uniform(lists: TensorLists) -> bool:
    """Whether one call of a fused kernel takes all the tensors as they are."""
    first = lists[0][0]
    if first.device.type not in FUSED_DEVICES or first.dtype not in FUSED_DTYPES:
        return False
    tensors = list(chain.from_iterable(lists))
    # `map` avoids a Python call for each tensor, and device numbers compare faster than devices: small
    # networks spend a measurable share of their step here.
    return (
        all(map(Tensor.is_contiguous, tensors))
        and len(set(map(_DTYPE, tensors))) == 1
        and len(set(map(Tensor.get_device, tensors))) == 1
    )


def _kernel_views(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """Contiguous views of target, gradient and state; None if no fused kernel takes them."""
    target, grad, *state = tensors
    dtype = target.dtype
    if target.device.type not in FUSED_DEVICES or dtype not in FUSED_DTYPES:
        return None
    if any(tensor.dtype != dtype for tensor in tensors):
        return None
    if all(tensor.is_contiguous() for tensor in tensors):
        return tensors
    axes = memory_axes(target)
    if axes is None:
        return None
    # The kernels copy tensors that are not contiguous (3.5 times slower for channels_last weights on CPU).
    views = tuple(tensor.permute(axes) for tensor in (target, *state))
    if not all(view.is_contiguous() for view in views):
        return None
    return views[0], grad.permute(axes).contiguous(), *views[1:]
