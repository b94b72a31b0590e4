"""The exponential moving average of a network's weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn


class MovingAverage:
    """w_bar <- decay w_bar + (1 - decay) w after each step, of parameters and floating-point buffers.

    It begins with the weights of the network it is made for, so after T steps w_bar is
    ``decay^T w_0 + (1 - decay) sum_t decay^(T - t) w_t``. Other buffers are those of the network.

    Args:
        network: the one in training.
        decay: in [0, 1).

    Attributes:
        network: a copy with the averaged weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """See the weights after a step."""
        for ours, theirs in zip(_tensors(self.network), _tensors(network), strict=True):
            if ours.is_floating_point() or ours.is_complex():
                ours.lerp_(theirs, 1 - self._decay)
            else:
                ours.copy_(theirs)


def _tensors(network: nn.Module) -> Iterator[torch.Tensor]:
    """Every parameter and buffer once, also where layers share them."""
    yield from network.parameters()
    yield from network.buffers()
