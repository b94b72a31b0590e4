"""What is measured after every epoch."""

from __future__ import annotations

import math

from torch import nn

from bregbench.data import Data
from bregbench.foundations.errors import Diverged
from bregbench.measures import of_weights
from bregbench.schema.selecting import withstood
from bregbench.schema.trainer import SelectOn
from bregbench.tasks.context import RunContext
from bregbench.tasks.scoring import score


def measure(
    network: nn.Module, data: Data, context: RunContext, select_on: SelectOn
) -> dict[str, float]:
    """Scores on the images that the best epoch is chosen by, and what the weights alone say."""
    splits = {"validation": data.validation}
    if select_on is SelectOn.test:
        splits["test"] = data.test
    scores = {
        key: value
        for name, split in splits.items()
        for key, value in score(network, split, context, name).items()
    }
    if select_on is SelectOn.robustness:
        scores |= withstood(network, data, scores)
    return {**scores, **of_weights(network)}


def refuse_nonfinite(metrics: dict[str, float], epoch: int, advice: str) -> None:
    """Refuse metrics that are no numbers.

    Args:
        metrics: of an epoch.
        epoch: which one.
        advice: what to do about it.

    Raises:
        Diverged: names the first such metric.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} became {value} in epoch {epoch}: {advice}")
