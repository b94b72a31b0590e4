"""Pairs of images that climb to where a network is steepest (CLIP paper, Figure 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

import clip
from bregbench.checks import require
from bregbench.context import RunContext
from bregbench.data import Data
from bregbench.data.batch_loader import to_unit_interval
from bregbench.evaluators.base import EvaluatorConfig
from bregbench.streams import Streams


@dataclass
class WorstPairs(EvaluatorConfig):
    """Lets pairs of different validation images climb, and keeps the steepest pair before and after.

    Attributes:
        pairs: how many.
        steps: of the ascent, with acceptance, pixels kept in [0, 1].
        step_size: the first, tau of Algorithm 1.
    """

    kind: ClassVar[str] = "worst_pairs"
    pairs: int = 100
    steps: int = 100
    step_size: float = 20.0

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`lipschitz/pairs_start` and `lipschitz/pairs`: largest quotients before and after."""
        start, end = self._climb(network, data, context)
        return {
            "lipschitz/pairs_start": self._largest(start),
            "lipschitz/pairs": self._largest(end),
        }

    @torch.no_grad()
    def traces(
        self, network: nn.Module, data: Data, context: RunContext
    ) -> dict[str, torch.Tensor]:
        """The pair that ends steepest.

        `images`: uint8 ``(2, 2, channels, height, width)``, before and after; `outputs`: float32
        ``(2, 2, classes)``, what the network makes of them.
        """
        start, end = self._climb(network, data, context)
        best = int(end.quotients.argmax())
        images = torch.stack([start.points[best], end.points[best]])
        outputs = network(images.flatten(0, 1)).float()
        return {
            "images": (images * 255).round().to(torch.uint8).cpu(),
            "outputs": outputs.reshape(2, 2, -1).cpu(),
        }

    def _climb(
        self, network: nn.Module, data: Data, context: RunContext
    ) -> tuple[clip.PairSet, clip.PairSet]:
        for name in ("pairs", "steps", "step_size"):
            value = getattr(self, name)
            require(value > 0, f"evaluators.worst_pairs.{name}", value, "greater than 0")
        require(
            len(data.validation) > 1,
            "data.validation",
            len(data.validation),
            "at least 2 for evaluators=[worst_pairs]",
        )
        source = clip.DataPairs(to_unit_interval(data.validation.images), self.pairs)
        sets = [
            # Streams of their own: the same pairs for every network and seed.
            clip.PairSet(
                source,
                value_range=(0.0, 1.0),
                generator=Streams(0).generator("worst_pairs"),
            )
            for _ in range(2)
        ]
        ascent = clip.Ascent(step_size=self.step_size)
        start, end = sets
        with torch.no_grad():
            start.quotients.copy_(clip.difference_quotients(network, start.points))
        ascent.run(network, end, self.steps)
        return start, end

    @staticmethod
    def _largest(pairs: clip.PairSet) -> float:
        return float(pairs.estimate())
