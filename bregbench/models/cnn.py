"""The convolutional network of the Bregman paper's Figure 1 and Tables 1 and 2."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

from torch import nn

from bregbench.data.normalization import Normalization
from bregbench.foundations.errors import BenchError
from bregbench.foundations.ranges import MOST, MOST_PIXELS, check_counts, check_layers
from bregbench.models.activation import Activation
from bregbench.models.base import ModelConfig
from bregbench.models.normalize import Normalize


@dataclass
class Cnn(ModelConfig):
    """Convolution, 2 x 2 max-pooling and activation, repeated; then a fully connected part.

    Convolutions have no padding. Pooling comes before the activation as in the paper's diagram,
    which for a monotone activation gives the same values as the other order for a quarter of the
    work. Modules: ``normalize, conv1, pool1, activation1, conv2, ..., flatten, linear1,
    activation<k>, ..., linear<n>``. On 1 x 28 x 28 images the default has 236,352 weights and
    236,618 parameters.

    Attributes:
        channels: output channels of the convolutions.
        kernel_size: side of every kernel.
        hidden: widths of the fully connected layers between convolutions and logits.
        activation: activation after every pooling and every hidden layer.
    """

    kind: ClassVar[str] = "cnn"

    channels: list[int] = field(default_factory=lambda: [64, 64])
    kernel_size: int = 5
    hidden: list[int] = field(default_factory=lambda: [128])
    activation: Activation = Activation.relu

    def check(self, at: str) -> None:
        """See `ModelConfig.check`."""
        check_counts(self, at, "channels", "hidden", most=MOST)
        check_counts(self, at, "kernel_size", most=MOST_PIXELS)
        taps = self.kernel_size**2
        check_layers(f"{at}.channels", self.channels, [1, *self.channels], taps=taps)
        check_layers(f"{at}.hidden", self.hidden, self.hidden)

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> nn.Sequential:
        """See `ModelConfig.build`."""
        channels, *side = input_shape
        layers = OrderedDict[str, nn.Module](
            normalize=Normalize(normalization or Normalization.identity(channels))
        )
        activations = 0
        for index, (inputs, outputs) in enumerate(pairwise([channels, *self.channels]), start=1):
            layers[f"conv{index}"] = nn.Conv2d(inputs, outputs, self.kernel_size)
            layers[f"pool{index}"] = nn.MaxPool2d(2)
            activations += 1
            layers[f"activation{activations}"] = self.activation.build()
        layers["flatten"] = nn.Flatten()
        height, width = self._feature_size(side)
        features = [channels, *self.channels][-1] * height * width
        sizes = [features, *self.hidden, classes]
        for index, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
            layers[f"linear{index}"] = nn.Linear(inputs, outputs)
            if index < len(sizes) - 1:
                activations += 1
                layers[f"activation{activations}"] = self.activation.build()
        return nn.Sequential(layers)

    def _feature_size(self, side: list[int]) -> list[int]:
        """Height and width that reach the fully connected part."""
        smallest = 1
        for _ in self.channels:
            smallest = 2 * smallest + self.kernel_size - 1
        if min(side) < smallest:
            raise BenchError(
                f"model=cnn needs images of at least {smallest} x {smallest} pixels and the data "
                f"set has {side[0]} x {side[1]}: use model=mlp, or fewer convolutions "
                f"(model.channels={self.channels}), or smaller kernels "
                f"(model.kernel_size={self.kernel_size})"
            )
        for _ in self.channels:
            side = [(size - self.kernel_size + 1) // 2 for size in side]
        return side
