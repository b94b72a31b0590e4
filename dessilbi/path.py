"""The order in which groups were selected during training: by first selection, then by size of V."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from dessilbi.optimizer import DessiLBI
from dessilbi.scaling import magnitudes
from dessilbi.settings import split_penalty


class SelectionPath:
    """Records the time at which each group of Gamma first became non-zero.

    Args:
        model: The network that the optimiser trains.
        optimizer: The optimiser whose Gamma `record` reads.

    Attributes:
        first: For each parameter with a penalty, by name, the time of each group's first selection,
            infinite for groups not selected yet. Tensors are float64 on the CPU, of the shape of the
            weight with the axes of a group reduced to length 1.
    """

    def __init__(self, model: nn.Module, optimizer: DessiLBI) -> None:
        self._optimizer = optimizer
        self._params = {
            name: param for name, param in model.named_parameters() if optimizer.has_gamma(param)
        }
        self.first: dict[str, Tensor] = {
            name: torch.full(self._sizes(param, param).shape, math.inf, dtype=torch.float64)
            for name, param in self._params.items()
        }

    @torch.no_grad()
    def record(self, time: float) -> None:
        """Note the time for all groups that are selected now and were not selected before.

        Args:
            time: Epoch, step or `sum lr / nu`; it must not fall from call to call.
        """
        for name, param in self._params.items():
            first = self.first[name]
            selected = (self._sizes(param, self._optimizer.gamma(param)) > 0).to(first.device)
            first[selected & first.isinf()] = time

    @torch.no_grad()
    def order(self, name: str) -> Tensor:
        """Indices of the groups of one parameter, the most important first.

        Groups are sorted by first selection, and by the norm of V at equal times and among groups never
        selected. Groups are numbered in the order of the weight's axes.
        """
        param = self._params[name]
        sizes = self._sizes(param, self._optimizer.dual(param)).flatten().cpu()
        by_size = sizes.argsort(descending=True, stable=True)
        return by_size[self.first[name].flatten()[by_size].argsort(stable=True)]

    def first_filters(self, name: str, axis: int = 0) -> Tensor:
        """Time of the first selection within each output channel, `axis` of the weight."""
        shape = self._params[name].shape
        return self.first[name].expand(shape).transpose(0, axis).flatten(1).amin(dim=1)

    def state_dict(self) -> dict[str, Any]:
        """The times, for a checkpoint."""
        return {name: first.clone() for name, first in self.first.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from saved times.

        Raises:
            ValueError: The times are those of other parameters.
        """
        if {name: x.shape for name, x in state.items()} != {
            name: x.shape for name, x in self.first.items()
        }:
            raise ValueError("the saved path belongs to other parameters")
        for name, first in state.items():
            self.first[name].copy_(first)

    def _sizes(self, param: Tensor, x: Tensor) -> Tensor:
        return magnitudes(x.detach(), split_penalty(self._optimizer.group_of(param), param))
