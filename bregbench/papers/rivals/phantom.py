"""Phantom classes: digits with labels that never occur, whose rows of the last layer must die."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from bregbench.data import Data, Digits
from bregbench.data.raw import RawData
from bregbench.evaluators import EvaluatorConfig
from bregbench.foundations.ranges import MOST, check_counts
from bregbench.measures.layers import distinct_weights
from bregbench.tasks.context import RunContext


@dataclass
class PhantomDigits(Digits):
    """The digits of scikit-learn with labels that no image has: ground truth for sparsity.

    A weight of such a row can do no good, but its gradient never vanishes either: softmax pushes it by
    its tiny probability at every step, always to the same side.

    Attributes:
        phantoms: number of classes that never occur.
    """

    kind: ClassVar[str] = "phantom_digits"
    phantoms: int = 990

    def check(self, at: str) -> None:
        """See `DatasetConfig.check`."""
        super().check(at)
        check_counts(self, at, "phantoms", most=MOST)

    def load(self) -> RawData:
        """See `DatasetConfig.load`."""
        raw = super().load()
        return replace(raw, classes=raw.classes + self.phantoms)


@dataclass
class PhantomRows(EvaluatorConfig):
    """How many rows of the last layer belong to classes that never occur and are alive."""

    kind: ClassVar[str] = "phantom_rows"

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`phantom/alive`, `phantom/weights`, `phantom/real`; nothing without a row per class."""
        heads = [
            layer
            for layer in distinct_weights(network).values()
            if isinstance(layer, nn.Linear) and layer.out_features == data.classes
        ]
        if not heads:
            return {}
        nonzero = heads[-1].weight != 0
        occurs = data.train.labels.new_zeros(data.classes).bool()
        occurs[data.train.labels.unique()] = True
        rows = nonzero.any(dim=1)
        return {
            "phantom/alive": float(rows[~occurs].sum()),
            "phantom/weights": float(nonzero[~occurs].sum()),
            "phantom/real": float(rows[occurs].sum()),
        }
