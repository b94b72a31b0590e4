"""A small fast network for colour photographs: whitened patches, three groups, GELU, BatchNorm."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from bregbench.data.normalization import Normalization
from bregbench.foundations.errors import BenchError
from bregbench.foundations.ranges import MOST, check_counts, check_layers, check_numbers
from bregbench.models.base import ModelConfig
from bregbench.models.normalize import Normalize

#: side of the patches that are whitened
_PATCH = 2
#: added to the variances of patches: directions of less than this are noise
_FLOOR = 5e-4


@dataclass
class WhitenedCnn(ModelConfig):
    """A fixed layer that whitens patches, then groups of two convolutions behind max-pooling.

    After the design of airbench (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024), written
    anew. The fixed layer maps patches of 2 x 2 pixels to their principal directions, each divided by its
    deviation over the training images, with both signs; it is set when a run begins and carries no penalty.
    Every group convolves (3 x 3), halves the image by max-pooling, and convolves again, each with BatchNorm
    and GELU; a global maximum and a linear layer without biases follow. Convolutions start as identities
    plus torch's default for the channels that they add. Modules: ``normalize, whiten, activation,
    groups, pool, flatten, linear``. On 3 x 32 x 32 images the default has 790,232 parameters and
    48.4 M multiply-accumulates a pass.

    Attributes:
        channels: of each group.
        mirror: in evaluation mode answer with the mean of the logits of an image and of its mirror image,
            at twice the cost.
        logit_scale: logits are multiplied by it.
    """

    kind: ClassVar[str] = "whitened_cnn"

    channels: list[int] = field(default_factory=lambda: [48, 128, 192])
    mirror: bool = True
    logit_scale: float = 0.125

    def check(self, at: str) -> None:
        """See `ModelConfig.check`."""
        check_counts(self, at, "channels", most=MOST)
        check_layers(f"{at}.channels", self.channels, [1, *self.channels], taps=9)
        check_numbers(self, at, "logit_scale", above=0)

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> WhitenedNetwork:
        """See `ModelConfig.build`."""
        channels, *sides = input_shape
        smallest = _PATCH - 1 + 2 ** len(self.channels)
        if min(sides) < smallest:
            raise BenchError(
                f"model=whitened_cnn with model.channels={self.channels} needs images of at least {smallest} "
                f"pixels a side and the data set has {sides[0]} x {sides[1]}: use fewer groups"
            )
        normalize = Normalize(normalization or Normalization.identity(channels))
        return WhitenedNetwork(
            normalize,
            inputs=channels,
            channels=self.channels,
            classes=classes,
            mirror=self.mirror,
            logit_scale=self.logit_scale,
        )


class WhitenedNetwork(nn.Module):
    """See `WhitenedCnn`."""

    def __init__(
        self,
        normalize: Normalize,
        *,
        inputs: int,
        channels: list[int],
        classes: int,
        mirror: bool,
        logit_scale: float,
    ) -> None:
        super().__init__()
        self.mirror = mirror
        self.logit_scale = logit_scale
        self.normalize = normalize
        self.whiten = Whiten(inputs)
        self.activation = nn.GELU()
        widths = [self.whiten.outputs, *channels]
        self.groups = nn.Sequential()
        for index, (before, after) in enumerate(pairwise(widths), start=1):
            self.groups.add_module(f"group{index}", _group(before, after))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(widths[-1], classes, bias=False)

    def start_from(self, images: torch.Tensor) -> None:
        """Set the whitening layer from images ``(n, channels, height, width)`` in [0, 1], on any device."""
        self.whiten.start_from(self.normalize(images.to(self.whiten.weight.device)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, classes)`` of images ``(batch, channels, height, width)``."""
        logits = self._logits(images)
        if self.training or not self.mirror:
            return logits
        return (logits + self._logits(images.flip(3))) / 2

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        features = self.groups(self.activation(self.whiten(self.normalize(images))))
        return self.linear(self.flatten(self.pool(features))) * self.logit_scale


class Whiten(nn.Module):
    """Patches of 2 x 2 pixels in their principal directions, of deviation 1 and with both signs.

    The directions are fixed and no parameter; the biases are trained. Before `start_from` the directions
    are the single pixels.

    Args:
        channels: of the images.
    """

    weight: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = channels * _PATCH**2
        self.outputs = 2 * size
        single = torch.eye(size).view(size, channels, _PATCH, _PATCH)
        self.register_buffer("weight", torch.cat([single, -single]))
        self.bias = nn.Parameter(torch.zeros(self.outputs))

    @torch.no_grad()
    def start_from(self, images: torch.Tensor) -> None:
        """Take the directions and deviations from images ``(n, channels, height, width)``."""
        patches = functional.unfold(images.to("cpu", torch.float32), _PATCH)
        rows = patches.transpose(1, 2).flatten(0, 1).double()
        second = rows.T @ rows / len(rows)
        values, vectors = torch.linalg.eigh(second)
        # A direction is an axis: the sign that LAPACK gives it is no property of the images.
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        scaled = (vectors * largest.sign() / (values + _FLOOR).sqrt()).T.flip(0)
        directions = scaled.view(len(scaled), *self.weight.shape[1:])
        self.weight.copy_(torch.cat([directions, -directions]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map ``(batch, channels, h, w)`` to ``(batch, 8 x channels, h - 1, w - 1)``."""
        return functional.conv2d(images, self.weight, self.bias)


def _group(inputs: int, outputs: int) -> nn.Sequential:
    layers = {
        "conv1": _identity_start(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)),
        "pool": nn.MaxPool2d(2),
        "norm1": nn.BatchNorm2d(outputs),
        "activation1": nn.GELU(),
        "conv2": _identity_start(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)),
        "norm2": nn.BatchNorm2d(outputs),
        "activation2": nn.GELU(),
    }
    group = nn.Sequential()
    for name, layer in layers.items():
        group.add_module(name, layer)
    return group


@torch.no_grad()
def _identity_start(layer: nn.Conv2d) -> nn.Conv2d:
    """The first outputs copy the inputs."""
    nn.init.dirac_(layer.weight[: layer.in_channels])
    return layer
