"""Fully connected networks; the default is 784-200-80-10 on MNIST (Bregman paper, Section 4.2)."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

from torch import nn

from bregbench.data.normalization import Normalization
from bregbench.foundations.ranges import MOST, check_counts, check_layers
from bregbench.models.activation import Activation
from bregbench.models.base import ModelConfig
from bregbench.models.normalize import Normalize


@dataclass
class Mlp(ModelConfig):
    """Linear layers with an activation after each but the last.

    Modules: ``normalize, flatten, linear1, activation1, ..., linear<n>``.

    Attributes:
        hidden: widths of the hidden layers; empty gives a linear classifier.
        activation: activation after every hidden layer.
        activate_output: whether the activation also follows the last layer, as in the code of the CLIP
            paper. The default gives linear logits, which cross-entropy needs.
    """

    kind: ClassVar[str] = "mlp"

    hidden: list[int] = field(default_factory=lambda: [200, 80])
    activation: Activation = Activation.relu
    activate_output: bool = False

    def check(self, at: str) -> None:
        """See `ModelConfig.check`."""
        check_counts(self, at, "hidden", most=MOST)
        check_layers(f"{at}.hidden", self.hidden, self.hidden)

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> nn.Sequential:
        """See `ModelConfig.build`."""
        layers = OrderedDict[str, nn.Module](
            normalize=Normalize(normalization or Normalization.identity(input_shape[0])),
            flatten=nn.Flatten(),
        )
        widths = [math.prod(input_shape), *self.hidden, classes]
        layers |= linear_layers(widths, self.activation, activate_output=self.activate_output)
        return nn.Sequential(layers)


def linear_layers(
    widths: list[int], activation: Activation, *, activate_output: bool
) -> OrderedDict[str, nn.Module]:
    """Modules ``linear1, activation1, ..., linear<n>`` between consecutive widths."""
    layers = OrderedDict[str, nn.Module]()
    last = len(widths) - 1
    for index, (inputs, outputs) in enumerate(pairwise(widths), start=1):
        layers[f"linear{index}"] = nn.Linear(inputs, outputs)
        if index < last or activate_output:
            layers[f"activation{index}"] = activation.build()
    return layers
