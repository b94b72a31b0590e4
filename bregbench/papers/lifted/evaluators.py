"""Metrics of the lifted Bregman paper: linear units and sparsity of codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bregbench.data import Data, evaluation_batches
from bregbench.data.loader import to_unit_interval
from bregbench.evaluators.base import EvaluatorConfig
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import check_counts
from bregbench.foundations.streams import Streams
from bregbench.measures.layers import weight_layers
from bregbench.tasks.context import RunContext
from bregbench.tasks.scoring import EVALUATION_BATCH


@dataclass
class Codes(EvaluatorConfig):
    """Sparsity of a hidden layer's outputs for one training image; keeps outputs and image as traces.

    Figure 13 of Wang and Benning (2023) shows the code of a sandal, which has label 5.

    Attributes:
        layer: number of the hidden layer among the layers with weights, counted from 1.
        label: label of the image.
        image: which training image of that label, counted from 0.
    """

    kind: ClassVar[str] = "codes"
    measures: ClassVar[tuple[str, ...]] = ("code/*",)
    layer: int = 2
    label: int = 5
    image: int = 0

    def check(self, at: str) -> None:
        """See `EvaluatorConfig.check`."""
        check_counts(self, at, "layer")
        check_counts(self, at, "label", "image", least=0)

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`code/zeros`, the share of exact zeros, `code/l1` and `code/largest`, of absolute values.

        Raises:
            BenchError: the network has no such layer, or the data have no such image.
        """
        values = self._code(network, *self._image(data), context)
        zeros = (values == 0).double().mean()
        measured = torch.stack([zeros, values.abs().sum().double(), values.abs().max().double()])
        return dict(zip(("code/zeros", "code/l1", "code/largest"), measured.tolist(), strict=True))

    def traces(
        self, network: nn.Module, data: Data, context: RunContext
    ) -> dict[str, torch.Tensor]:
        """`image`: without noise, uint8 ``(channels, height, width)``; `code`: float32 ``(units,)``."""
        image, label = self._image(data)
        return {"image": image.cpu(), "code": self._code(network, image, label, context).cpu()}

    def _image(self, data: Data) -> tuple[torch.Tensor, torch.Tensor]:
        """Image ``(channels, height, width)`` and label, a scalar."""
        found = (data.train.labels == self.label).nonzero().flatten()
        if not len(found):
            known = sorted(set(data.train.labels.tolist()))
            raise BenchError(
                f"evaluators.codes.label={self.label} has no training image: choose from {known}"
            )
        allowed = f"in 0..{len(found) - 1}, the training images of label {self.label}"
        require(0 <= self.image < len(found), "evaluators.codes.image", self.image, allowed)
        at = found[self.image]
        return data.train.images[at], data.train.labels[at]

    @torch.no_grad()
    def _code(
        self, network: nn.Module, image: torch.Tensor, label: torch.Tensor, context: RunContext
    ) -> torch.Tensor:
        """The input of the layer after `layer`, flattened."""
        layers = list(weight_layers(network).values())
        allowed = f"in 1..{len(layers) - 1}, a hidden layer with weights"
        require(0 < self.layer < len(layers), "evaluators.codes.layer", self.layer, allowed)
        seen: list[torch.Tensor] = []
        hook = layers[self.layer].register_forward_pre_hook(
            lambda _layer, inputs: seen.append(inputs[0])
        )
        generator = Streams(0).generator("task/codes", context.device)
        inputs, _ = context.task.pose(to_unit_interval(image)[None], label[None], generator)
        try:
            with context.autocast():
                network(context.arrange(inputs))
        finally:
            hook.remove()
        return seen[0].float().flatten()


@dataclass
class Units(EvaluatorConfig):
    """Linear units and zeros of codes by layer, on the test split (Wang and Benning, 2023, Table 2).

    Layers are those with weights, in the order of the model, the last one included.
    """

    kind: ClassVar[str] = "units"
    measures: ClassVar[tuple[str, ...]] = ("linear_units/*", "code_sparsity/*")

    @torch.no_grad()
    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`linear_units/layer<l>` and, of hidden layers, `code_sparsity/layer<l>`.

        A unit is linear on an image if z = max(z, 0) for its pre-activation z. The code is the input of the
        next layer with weights; only exact zeros count as zeros.
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
