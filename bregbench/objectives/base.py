"""The interface of objectives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from bregbench.tasks.context import RunContext


class Evaluated(NamedTuple):
    """The values of an objective on one batch.

    `total` is the scalar to differentiate. `loss`, the task's mean loss, and `outputs` are for the log and
    carry no gradient.
    """

    total: torch.Tensor
    loss: torch.Tensor
    outputs: torch.Tensor


class Objective:
    """Evaluates batches; the base class keeps no state."""

    def __call__(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        inputs: torch.Tensor,
        targets: torch.Tensor,
    ) -> Evaluated:
        """Evaluate a batch.

        Args:
            forward: the network, possibly compiled; the caller sets autocast.
            inputs: inputs of the task, with the batch as first axis.
            targets: targets of the task.
        """
        raise NotImplementedError

    def end_epoch(self, metrics: dict[str, float]) -> dict[str, float]:
        """Receive the metrics of an epoch and return further metrics."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs: plain values and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""


@dataclass
class ObjectiveConfig:
    """Config of the objective that a method differentiates."""

    kind: ClassVar[str]
    #: whether a batch must not be differentiated in parts
    whole_batch: ClassVar[bool] = False

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of this objective, such as `objective` or `phases.lam1.objective`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """

    def build(self, network: nn.Module, context: RunContext) -> Objective:
        """The objective for this network.

        Raises:
            BenchError: the objective does not fit the network.
        """
        raise NotImplementedError
