"""Tasks: what a network is asked to do, how its outputs are scored and which score selects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn


@dataclass
class TaskConfig:
    """Which task a run solves."""

    kind: ClassVar[str]
    #: the validation metric by which the best epoch is chosen (larger is better)
    selection: ClassVar[str]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch, differentiable."""
        raise NotImplementedError

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Sums over the batch of per-sample scores; divided by the sample count they are metrics."""
        raise NotImplementedError


@dataclass
class Classification(TaskConfig):
    """Class labels from images: cross-entropy on logits, accuracy."""

    kind: ClassVar[str] = "classification"
    selection: ClassVar[str] = "accuracy"

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of logits (batch, classes) and labels (batch,)."""
        return nn.functional.cross_entropy(outputs.float(), targets)

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """How many labels are hit by the largest logit."""
        return {"accuracy": (outputs.argmax(1) == targets).sum()}


TASKS: tuple[type[TaskConfig], ...] = (Classification,)
