"""Running statistics of norm layers, measured anew: a cut changes what the layers read."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@torch.no_grad()
def recalibrate(network: nn.Module, images: Tensor | Iterable[Tensor]) -> None:
    """Replace the running statistics of all BatchNorm layers by those of some inputs, in place.

    A cut that changes what a network computes (`bypass_layer`, masks, growing) leaves statistics of
    inputs that the norm layers no longer see. Means and variances (unbiased, as in training) are
    averaged over the batches, each weighted by its number of samples; nothing else is changed, and
    dropout stays off.

    Args:
        network: Layers without running statistics are left alone.
        images: One batch of inputs, or several, on the network's device.

    Raises:
        ValueError: There is no batch, or statistics would not be finite; the network is as it was.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and _tracks(m)]
    before = [{name: getattr(norm, name).clone() for name in _STATISTICS} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    modes = {module: module.training for module in network.modules()}
    try:
        _measure(network.eval(), norms, [images] if isinstance(images, Tensor) else images)
    except BaseException:
        for norm, statistics in zip(norms, before, strict=True):
            for name, value in statistics.items():
                getattr(norm, name).copy_(value)
        raise
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode


def _measure(network: nn.Module, norms: list[_BatchNorm], batches: Iterable[Tensor]) -> None:
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    seen = 0
    for batch in batches:
        if not len(batch):
            continue
        seen += len(batch)
        for norm in norms:
            norm.momentum = len(batch) / seen
        network(batch)
    if not seen:
        raise ValueError("no images were given to recalibrate the norm layers with")
    for norm in norms:
        for name in ("running_mean", "running_var"):
            if not getattr(norm, name).isfinite().all():
                raise ValueError("the statistics of a norm layer on these images are not finite")


def _tracks(norm: _BatchNorm) -> bool:
    return all(isinstance(getattr(norm, name), Tensor) for name in _STATISTICS)
