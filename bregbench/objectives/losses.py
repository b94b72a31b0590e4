"""Objectives: what is differentiated in a step of back-propagation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import nn

from bregbench.checks import require
from bregbench.context import RunContext
from bregbench.penalty import PenaltyConfig
from bregman import penalty_value


class Evaluated(NamedTuple):
    """One batch seen through an objective.

    `total` is differentiated; `loss` (the task's mean loss alone) and `outputs` are logged and carry
    no gradient.
    """

    total: torch.Tensor
    loss: torch.Tensor
    outputs: torch.Tensor


class Objective(Protocol):
    """Evaluates a batch; `forward` is the network, compiled and under autocast where asked."""

    def __call__(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        inputs: torch.Tensor,
        targets: torch.Tensor,
    ) -> Evaluated: ...


@dataclass
class ObjectiveConfig:
    """Which objective a method differentiates."""

    kind: ClassVar[str]

    def build(self, network: nn.Module, context: RunContext) -> Objective:
        """The objective for this network."""
        raise NotImplementedError


@dataclass
class Plain(ObjectiveConfig):
    """The task's loss and nothing else."""

    kind: ClassVar[str] = "plain"

    def build(self, network: nn.Module, context: RunContext) -> Objective:
        """The mean loss of a batch."""

        def objective(
            forward: Callable[[torch.Tensor], torch.Tensor],
            inputs: torch.Tensor,
            targets: torch.Tensor,
        ) -> Evaluated:
            outputs = forward(inputs)
            loss = context.task.loss(outputs, targets)
            return Evaluated(loss, loss.detach(), outputs.detach())

        return objective


@dataclass
class Lasso(ObjectiveConfig):
    """The loss plus lam J(theta), differentiated as it stands (the paper's (1.4)).

    Gradient steps on it never reach exact zeros; `prox_sgd` minimises the same functional and does.
    """

    kind: ClassVar[str] = "lasso"
    lam: float = 1e-4
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)

    def build(self, network: nn.Module, context: RunContext) -> Objective:
        """The penalised loss; the penalty's groups are fixed here."""
        require(self.lam >= 0, "objective.lam", self.lam, "at least 0")
        plain = Plain().build(network, context)
        groups = self.penalty.groups(network, self.lam)

        def objective(
            forward: Callable[[torch.Tensor], torch.Tensor],
            inputs: torch.Tensor,
            targets: torch.Tensor,
        ) -> Evaluated:
            total, loss, outputs = plain(forward, inputs, targets)
            return Evaluated(total + penalty_value(groups), loss, outputs)

        return objective


OBJECTIVES: tuple[type[ObjectiveConfig], ...] = (Plain, Lasso)
