"""The cost of a network after the removal of units that it does not need."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bregbench.data import Data
from bregbench.evaluators.base import EvaluatorConfig
from bregbench.evaluators.compacting import NotFollowed, compacted
from bregbench.foundations.console import say
from bregbench.foundations.ranges import MOST, MOST_IMAGES, check_counts
from bregbench.measures import count_macs, count_parameters
from bregbench.measures.cost import median_seconds
from bregbench.tasks.context import RunContext


@dataclass
class Compaction(EvaluatorConfig):
    """Cost of the network without constant units and units that no layer reads (`dessilbi.compact`).

    Attributes:
        batch_size: number of images in a timed forward pass.
        repeats: number of timed passes; the median counts.
    """

    kind: ClassVar[str] = "compaction"
    measures: ClassVar[tuple[str, ...]] = ("compact/*",)
    batch_size: int = 128
    repeats: int = 5

    def check(self, at: str) -> None:
        """See `EvaluatorConfig.check`."""
        check_counts(self, at, "batch_size", most=MOST_IMAGES)
        check_counts(self, at, "repeats", most=MOST)

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`compact/*`; no metrics if the network cannot be traced or understood."""
        try:
            small = compacted(network, data.input_shape)
        except NotFollowed as error:
            say(f"evaluators=[compaction] leaves out this network: {error}")
            return {}
        shape = (self.batch_size, *data.input_shape)
        images = context.arrange(torch.zeros(shape, device=context.device))

        def seconds(judged: nn.Module) -> float:
            def forward() -> None:
                with context.autocast():
                    judged(images)

            return median_seconds(forward, context.device, repeats=1)

        # Both networks are timed in turns, so that other load on the machine slows both down.
        times = [(seconds(network), seconds(small)) for _ in range(self.repeats)]
        macs, built = (
            count_macs(small, data.input_shape).dense,
            count_macs(network, data.input_shape),
        )
        return {
            "compact/parameters": count_parameters(small),
            "compact/macs": macs,
            "compact/macs_left": macs / built.dense,
            "compact/forward_seconds": statistics.median(after for _, after in times),
            "compact/speedup": statistics.median(before / after for before, after in times),
        }
