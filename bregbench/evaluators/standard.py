"""The evaluators that every run ends with: accuracy, density and cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from bregbench.context import RunContext
from bregbench.data import Data
from bregbench.evaluators.base import EvaluatorConfig
from bregbench.measures import active_units, count_macs, count_parameters, density, l1_norm
from bregbench.scoring import score


@dataclass
class Accuracy(EvaluatorConfig):
    """Loss and scores on the test and validation splits."""

    kind: ClassVar[str] = "accuracy"

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`test/loss`, `test/accuracy`, `validation/loss`, `validation/accuracy`."""
        return {
            **score(network, data.test, context, "test"),
            **score(network, data.validation, context, "validation"),
        }


@dataclass
class Density(EvaluatorConfig):
    """How sparse the network is."""

    kind: ClassVar[str] = "density"

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`density/*`, `active_units/*` and `l1_norm`."""
        return {**density(network), **active_units(network), "l1_norm": l1_norm(network)}


@dataclass
class Cost(EvaluatorConfig):
    """What one forward pass costs in multiply-accumulate operations, and how large the network is."""

    kind: ClassVar[str] = "cost"

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`cost/macs`, `cost/effective_macs` (weighted by density) and `cost/parameters`."""
        macs = count_macs(network, data.input_shape)
        return {
            "cost/macs": macs.dense,
            "cost/effective_macs": macs.effective,
            "cost/parameters": count_parameters(network),
        }


EVALUATORS: tuple[type[EvaluatorConfig], ...] = (Accuracy, Density, Cost)
