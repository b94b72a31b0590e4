"""Fully connected networks from images to images (Bregman paper, Section 4.6)."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn

from bregbench.data.normalization import Normalization
from bregbench.foundations.errors import require
from bregbench.foundations.ranges import MOST, check_counts, check_layers, check_numbers
from bregbench.models.activation import Activation
from bregbench.models.base import ModelConfig
from bregbench.models.mlp import linear_layers
from bregbench.models.normalize import Denormalize, Normalize

#: Number of hidden layers, as wide as the images, if no widths are given.
_OWN_LAYERS = 5


@dataclass
class MlpAutoencoder(ModelConfig):
    """Linear layers with an activation after each, whose output has the shape of an image.

    Modules: ``normalize, flatten, linear1, activation1, ..., unflatten, denormalize``. The default has
    six layers as wide as the image; only sparse training gives these layers a bottleneck.

    Attributes:
        hidden: widths of the hidden layers; empty means five layers as wide as the image.
        activation: activation after every layer.
        activate_output: whether the activation also follows the last layer; a ReLU keeps pixels
            non-negative.
        code_layer: number, from 1, of the hidden layer whose activation is soft thresholding; 0 for
            none. Its outputs are the sparse code of Wang and Benning (2023), section 6.2.
        code_threshold: threshold of the soft thresholding.
        denormalize: whether the output undoes the input's normalisation, so that the layers between map
            normalised images to normalised images.
    """

    kind: ClassVar[str] = "mlp_autoencoder"

    hidden: list[int] = field(default_factory=list)
    activation: Activation = Activation.relu
    activate_output: bool = True
    code_layer: int = 0
    code_threshold: float = 0.09
    denormalize: bool = False

    def check(self, at: str) -> None:
        """See `ModelConfig.check`."""
        check_counts(self, at, "hidden", most=MOST)
        check_layers(f"{at}.hidden", self.hidden, self.hidden)
        hidden = len(self.hidden) or _OWN_LAYERS
        allowed = f"in 1..{hidden}, a hidden layer, or 0 for none"
        require(0 <= self.code_layer <= hidden, f"{at}.code_layer", self.code_layer, allowed)
        check_numbers(self, at, "code_threshold", least=0)

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> nn.Sequential:
        """See `ModelConfig.build`; `classes` is ignored."""
        pixels = math.prod(input_shape)
        normalization = normalization or Normalization.identity(input_shape[0])
        layers = OrderedDict[str, nn.Module](
            normalize=Normalize(normalization), flatten=nn.Flatten()
        )
        widths = [pixels, *(self.hidden or [pixels] * _OWN_LAYERS), pixels]
        layers |= linear_layers(widths, self.activation, activate_output=self.activate_output)
        if self.code_layer:
            layers[f"activation{self.code_layer}"] = nn.Softshrink(self.code_threshold)
        layers["unflatten"] = nn.Unflatten(1, input_shape)
        if self.denormalize:
            layers["denormalize"] = Denormalize(normalization)
        return nn.Sequential(layers)
