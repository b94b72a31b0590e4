"""New running statistics for norm layers whose inputs a removal of units has changed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@torch.no_grad()
def recalibrate(network: nn.Module, images: Tensor | Iterable[Tensor]) -> None:
    """Replace the running statistics of all BatchNorm layers by those of some inputs, in place.

    A change of a network (`bypass_layer`, masks, growing) leaves its norm layers with statistics of
    inputs that they no longer get. Means and variances (unbiased, as in training) are averaged over the
    batches, each weighted by its number of samples. Parameters do not change, and dropout stays off.

    Args:
        network: The network. Its layers without running statistics do not change.
        images: One batch of inputs, or several, on the network's device.

    Raises:
        ValueError: There is no batch, or statistics would not be finite. The network does not change
            then.
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
        raise ValueError("no images to recalibrate the norm layers (must be one batch or more)")
    for norm in norms:
        for name in ("running_mean", "running_var"):
            if not getattr(norm, name).isfinite().all():
                raise ValueError(
                    "the statistics of a norm layer on these images are not finite (the images or "
                    "the weights hold NaN or infinity, or a channel has one value only)"
                )


def _tracks(norm: _BatchNorm) -> bool:
    return all(isinstance(getattr(norm, name), Tensor) for name in _STATISTICS)
