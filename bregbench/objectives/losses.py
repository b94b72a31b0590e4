"""The task's loss, alone or with a penalty on weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from bregbench.foundations.ranges import check_numbers
from bregbench.objectives.base import Evaluated, Objective, ObjectiveConfig
from bregbench.objectives.penalty import PenaltyConfig
from bregbench.tasks.context import RunContext
from bregman import penalty_value


@dataclass
class Plain(ObjectiveConfig):
    """The task's loss and nothing else."""

    kind: ClassVar[str] = "plain"

    def build(self, network: nn.Module, context: RunContext) -> Objective:
        """The mean loss of a batch."""
        return _Loss(context, [])


@dataclass
class Lasso(ObjectiveConfig):
    """The loss plus lam J(theta), eq. (1.4) of the Bregman paper, whose subgradients are followed.

    Subgradient steps never reach exact zeros; `method=prox_sgd` minimises the same functional with exact
    zeros.
    """

    kind: ClassVar[str] = "lasso"
    lam: float = 1e-4
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)

    def check(self, at: str) -> None:
        """See `ObjectiveConfig.check`."""
        check_numbers(self, at, "lam", least=0)

    def build(self, network: nn.Module, context: RunContext) -> Objective:
        """The penalised loss, with the parameter groups of the present network."""
        return _Loss(context, self.penalty.groups(network, self.lam))


class _Loss(Objective):
    """The task's mean loss plus the penalties of parameter groups."""

    def __init__(self, context: RunContext, groups: list[dict[str, Any]]) -> None:
        self._task = context.task
        self._groups = groups

    def __call__(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        inputs: torch.Tensor,
        targets: torch.Tensor,
    ) -> Evaluated:
        outputs = forward(inputs)
        loss = self._task.training_loss(outputs, targets)
        total = loss + penalty_value(self._groups) if self._groups else loss
        return Evaluated(total, loss.detach(), outputs.detach())
