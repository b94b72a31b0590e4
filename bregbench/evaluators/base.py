"""The interface of evaluators, which measure finished networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bregbench.data import Data
from bregbench.tasks.context import RunContext


@dataclass
class EvaluatorConfig:
    """A measurement at the end of a run, or of a finished run by `bregbench-evaluate`."""

    kind: ClassVar[str]
    #: Patterns of the evaluator's metrics: records with metrics of no pattern are refused.
    measures: ClassVar[tuple[str, ...]] = ("*",)

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of this evaluator, such as `evaluators.cost`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """Measure a network.

        Args:
            network: the network in evaluation mode, which must not be changed.
            data: all splits; only evaluators read the test split.
            context: task, device, precision.

        Returns:
            Metrics by name, `family/metric`, as fractions or counts.
        """
        raise NotImplementedError

    def traces(
        self, network: nn.Module, data: Data, context: RunContext
    ) -> dict[str, torch.Tensor]:
        """Small CPU tensors for figures, by name, from the trained network after the last epoch.

        Args:
            network: the network in evaluation mode, which must not be changed.
            data: all splits.
            context: task, device, precision.
        """
        return {}
