"""The graph of a network of one variable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from bregbench.context import RunContext
from bregbench.data import Data
from bregbench.errors import BenchError
from bregbench.evaluators.base import EvaluatorConfig

_HALVES = [-4.0, -3.5, -3.0, -2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]


@dataclass
class Curve(EvaluatorConfig):
    """Values of a network from one number to one number; keeps its graph on the test grid.

    Attributes:
        points: where values are metrics; the default is where Figure 2 of the CLIP paper was read off.
    """

    kind: ClassVar[str] = "curve"
    points: list[float] = field(default_factory=lambda: list(_HALVES))

    @torch.no_grad()
    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`curve/<x>` for each of the points, and `curve/slope`, the steepest one on the test grid.

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
