"""What an evaluator is: a measurement of a finished network, chosen like any config group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bregbench.data import Data
from bregbench.tasks.context import RunContext


@dataclass
class EvaluatorConfig:
    """A measurement that a run ends with, and that any finished run can be given later."""

    kind: ClassVar[str]
    #: patterns of the metrics that it gives: a record with others in its summary is refused
    measures: ClassVar[tuple[str, ...]] = ("*",)

    def check(self, at: str) -> None:
        """Refuse values out of range.

        Args:
            at: key of this evaluator, such as `evaluators.cost`.

        Raises:
            BenchError: names the key, the value and what is allowed.
        """

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """Measure a network.

        Args:
            network: in evaluation mode; must be left as it was.
            data: all splits; the test split is looked at here and nowhere earlier.
            context: task, device, precision.

        Returns:
            Metrics by name, `family/metric`, as fractions or counts.
        """
        raise NotImplementedError

    def traces(
        self, network: nn.Module, data: Data, context: RunContext
    ) -> dict[str, torch.Tensor]:
        """Small CPU tensors to keep for figures, by name; of the trained network after the last epoch.

        Args:
            network: in evaluation mode; must be left as it was.
            data: all splits.
            context: task, device, precision.
        """
        return {}
