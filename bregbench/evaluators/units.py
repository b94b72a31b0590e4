"""Which units of a network act linearly, and which are silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bregbench.context import RunContext
from bregbench.data import Data, evaluation_batches
from bregbench.evaluators.base import EvaluatorConfig
from bregbench.measures.layers import weight_layers
from bregbench.scoring import EVALUATION_BATCH
from bregbench.streams import Streams


@dataclass
class Units(EvaluatorConfig):
    """Shares over the test split, layer by layer (Wang and Benning, 2023, Table 2).

    Layers are those with weights, in the order of the model, the last one included.
    """

    kind: ClassVar[str] = "units"

    @torch.no_grad()
    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`linear_units/layer<l>` and, of hidden layers, `code_sparsity/layer<l>`.

        A unit is linear on an image where z = max(z, 0) for its pre-activation z. The code is what
        the next layer with weights sees; a zero in it is exactly zero.
        """
        layers = list(weight_layers(network).values())
        places: dict[nn.Module, int] = {layer: number for number, layer in enumerate(layers)}
        sums = torch.zeros(2, len(layers), dtype=torch.float64, device=context.device)

        def watch(layer: nn.Module, inputs: tuple[torch.Tensor], z: torch.Tensor) -> None:
            for at, seen in enumerate((z >= 0, inputs[0] == 0)):
                sums[at, places[layer]] += seen.flatten(1).double().mean(1).sum()

        hooks = [layer.register_forward_hook(watch) for layer in layers]
        generator = Streams(0).generator("task/test", context.device)
        try:
            for images, labels in evaluation_batches(data.test, EVALUATION_BATCH):
                inputs, _ = context.task.pose(images, labels, generator)
                with context.autocast():
                    network(context.arrange(inputs))
        finally:
            for hook in hooks:
                hook.remove()
        linear, zeros = (sums / len(data.test)).tolist()
        found = {f"linear_units/layer{i}": share for i, share in enumerate(linear, start=1)}
        codes = enumerate(zeros[1:], start=1)
        return found | {f"code_sparsity/layer{number}": share for number, share in codes}
