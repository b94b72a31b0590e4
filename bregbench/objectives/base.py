"""What an objective is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from bregbench.tasks.context import RunContext


class Evaluated(NamedTuple):
    """One batch seen through an objective.

    `total` is differentiated; `loss` (the task's mean loss alone) and `outputs` are logged and carry
    no gradient.
    """

    total: torch.Tensor
    loss: torch.Tensor
    outputs: torch.Tensor


class Objective:
    """Evaluates batches; this base remembers nothing from one to the next."""

    def __call__(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        inputs: torch.Tensor,
        targets: torch.Tensor,
    ) -> Evaluated:
        """Evaluate a batch; `forward` is the network, compiled and under autocast where asked."""
        raise NotImplementedError

    def end_epoch(self, metrics: dict[str, float]) -> dict[str, float]:
        """See the epoch's metrics and return further ones."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs; plain values and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""


@dataclass
class ObjectiveConfig:
    """Which objective a method differentiates."""

    kind: ClassVar[str]
    #: whether a batch must not be differentiated in parts
    whole_batch: ClassVar[bool] = False

    def check(self, at: str) -> None:
        """Refuse values out of range.

        Args:
            at: key of this objective, such as `objective` or `phases.lam1.objective`.

        Raises:
            BenchError: names the key, the value and what is allowed.
        """

    def build(self, network: nn.Module, context: RunContext) -> Objective:
        """The objective for this network.

        Raises:
            BenchError: the objective does not fit the network.
        """
        raise NotImplementedError
