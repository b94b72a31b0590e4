"""Largest slopes of networks: graphs of networks of one variable, and the steepest pairs of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

import clip
from bregbench.data import Data
from bregbench.data.loader import to_unit_interval
from bregbench.evaluators.base import EvaluatorConfig
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import MOST, check_counts, check_numbers
from bregbench.foundations.streams import Streams
from bregbench.tasks.context import RunContext

_HALVES = [-4.0, -3.5, -3.0, -2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]


@dataclass
class Curve(EvaluatorConfig):
    """Values of a network that maps one number to one number; keeps the graph on the test grid.

    Attributes:
        points: inputs whose outputs are metrics; by default those at which Figure 2 of the CLIP paper
            was read.
    """

    kind: ClassVar[str] = "curve"
    measures: ClassVar[tuple[str, ...]] = ("curve/*",)
    points: list[float] = field(default_factory=lambda: list(_HALVES))

    @torch.no_grad()
    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`curve/<x>` for each of the points, and `curve/slope`, the largest slope on the test grid.

        Raises:
            BenchError: the data have more than one input.
        """
        if data.input_shape != (1, 1, 1):
            raise BenchError(
                f"evaluators=[curve] needs inputs of one number, and {data.name} has "
                f"{data.input_shape}: use dataset=gap_function"
            )
        points = torch.tensor(self.points, device=context.device).reshape(-1, 1, 1, 1)
        values = network(points).flatten().tolist()
        grid = data.test.images
        steps = network(grid).flatten().diff() / grid.flatten().diff()
        found = {f"curve/{x:g}": value for x, value in zip(self.points, values, strict=True)}
        return found | {"curve/slope": float(steps.abs().max())}

    @torch.no_grad()
    def traces(
        self, network: nn.Module, data: Data, context: RunContext
    ) -> dict[str, torch.Tensor]:
        """`x` and `prediction` on the test grid; `inputs` and `targets` of training; float32."""
        kept = {
            "x": data.test.images,
            "prediction": network(data.test.images),
            "inputs": data.train.images,
            "targets": data.train.labels,
        }
        return {name: tensor.flatten().float().cpu() for name, tensor in kept.items()}


@dataclass
class WorstPairs(EvaluatorConfig):
    """Ascent of pairs of different validation images (Algorithm 1); keeps the steepest pair.

    Attributes:
        pairs: number of pairs.
        steps: number of ascent steps, which refuse smaller quotients and keep pixels in [0, 1].
        step_size: first step size, tau of Algorithm 1.
    """

    kind: ClassVar[str] = "worst_pairs"
    measures: ClassVar[tuple[str, ...]] = ("lipschitz/pairs", "lipschitz/pairs_start")
    pairs: int = 100
    steps: int = 100
    step_size: float = 20.0

    def check(self, at: str) -> None:
        """See `EvaluatorConfig.check`."""
        check_counts(self, at, "pairs", "steps", most=MOST)
        check_numbers(self, at, "step_size", above=0)

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`lipschitz/pairs_start` and `lipschitz/pairs`: largest quotients before and after the ascent."""
        start, end = self._climb(network, data, context)
        return {
            "lipschitz/pairs_start": self._largest(start),
            "lipschitz/pairs": self._largest(end),
        }

    @torch.no_grad()
    def traces(
        self, network: nn.Module, data: Data, context: RunContext
    ) -> dict[str, torch.Tensor]:
        """The pair with the largest quotient after the ascent.

        `images`: uint8 ``(2, 2, channels, height, width)``, before and after the ascent; `outputs`: float32
        ``(2, 2, classes)``, the outputs of the network for these images.
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
        require(
            len(data.validation) > 1,
            "data.validation",
            len(data.validation),
            "at least 2 for evaluators=[worst_pairs]",
        )
        source = clip.DataPairs(to_unit_interval(data.validation.images), self.pairs)
        sets = [
            # The seed of these streams is fixed, so that every network and seed gets equal pairs.
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
