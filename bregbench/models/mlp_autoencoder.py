"""Fully connected networks from images to images (Bregman paper, Section 4.6)."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn

from bregbench.checks import require
from bregbench.data.normalization import Normalization
from bregbench.models.activation import Activation
from bregbench.models.config import ModelConfig
from bregbench.models.mlp import linear_layers
from bregbench.models.normalize import Normalize


@dataclass
class MlpAutoencoder(ModelConfig):
    """Linear layers with an activation after each, whose output has the shape of an image.

    Modules: ``normalize, flatten, linear1, activation1, ..., unflatten``. The default has six layers
    as wide as the image: nothing makes it an autoencoder but what training leaves of it.

    Attributes:
        hidden: widths of the hidden layers; empty means five as wide as the image.
        activation: after every layer.
        activate_output: after the last layer too; outputs of a ReLU are pixels, which are not negative.
    """

    kind: ClassVar[str] = "mlp_autoencoder"

    hidden: list[int] = field(default_factory=list)
    activation: Activation = Activation.relu
    activate_output: bool = True

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> nn.Sequential:
        """See `ModelConfig.build`; `classes` plays no part."""
        require(all(width > 0 for width in self.hidden), "model.hidden", self.hidden, "positive")
        pixels = math.prod(input_shape)
        layers = OrderedDict[str, nn.Module](
            normalize=Normalize(normalization or Normalization.identity(input_shape[0])),
            flatten=nn.Flatten(),
        )
        widths = [pixels, *(self.hidden or [pixels] * 5), pixels]
        layers |= linear_layers(widths, self.activation, activate_output=self.activate_output)
        layers["unflatten"] = nn.Unflatten(1, input_shape)
        return nn.Sequential(layers)
