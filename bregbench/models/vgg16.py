"""VGG16 with batch normalisation for small images, with the heads of DessiLBI's experiments."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import ClassVar

from torch import nn

from bregbench.data.normalization import Normalization
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import MOST, check_counts, check_layers
from bregbench.models.base import ModelConfig
from bregbench.models.normalize import Normalize

_POOLS = (2, 4, 7, 10)
_FULL = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


class Head(StrEnum):
    """The layers after the convolutions.

    `triple` is a fifth max-pooling and three linear layers with dropout (pruning of weights), `single` is
    average pooling and one linear layer (winning tickets), `double` is dropout, a hidden layer with batch
    normalisation and dropout, and a linear layer, without a fifth pooling (growing).
    """

    triple = "triple"
    double = "double"
    single = "single"


@dataclass
class Vgg16(ModelConfig):
    """Thirteen 3 x 3 convolutions with bias, batch normalisation and ReLU; max-pooling in between.

    On 3 x 32 x 32 images: 15,253,578 parameters and 313.7 M multiply-accumulates with the triple
    head, 14,728,266 and 313.2 M with the single one, 15,778,378 and 314.3 M with the double one.
    Modules: ``normalize, conv1, norm1, relu1, ..., pool1, ..., flatten, ..., linear<n>``.

    Attributes:
        widths: numbers of filters of the convolutions: one number for all, or thirteen.
        head: the layers after the convolutions.
        hidden: width of the head's hidden layers.
    """

    kind: ClassVar[str] = "vgg16"

    widths: list[int] = field(default_factory=lambda: list(_FULL))
    head: Head = Head.triple
    hidden: int = 512

    def check(self, at: str) -> None:
        """See `ModelConfig.check`."""
        widths = self._widths()
        fits = len(widths) == len(_FULL) and all(width > 0 for width in widths)
        require(fits, f"{at}.widths", self.widths, "thirteen positive numbers, or one for all")
        check_layers(f"{at}.widths", self.widths, widths, taps=9)
        check_counts(self, at, "hidden", most=MOST)
        check_layers(f"{at}.hidden", self.hidden, [widths[-1], self.hidden, self.hidden])

    def _widths(self) -> list[int]:
        """Numbers of filters of all convolutions."""
        return self.widths * len(_FULL) if len(self.widths) == 1 else self.widths

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> nn.Sequential:
        """See `ModelConfig.build`."""
        widths = self._widths()
        channels, *sides = input_shape
        halvings = len(_POOLS) if self.head is Head.double else len(_POOLS) + 1
        height, width = (side >> halvings for side in sides)
        if min(height, width) < 1:
            raise BenchError(
                f"model=vgg16 needs images of at least {2**halvings} x {2**halvings} pixels and the "
                f"data set has {sides[0]} x {sides[1]}: use model=resnet_cifar or model=mlp"
            )
        layers = OrderedDict[str, nn.Module](
            normalize=Normalize(normalization or Normalization.identity(channels))
        )
        for index, (inputs, outputs) in enumerate(pairwise([channels, *widths]), start=1):
            layers[f"conv{index}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            layers[f"norm{index}"] = nn.BatchNorm2d(outputs)
            layers[f"relu{index}"] = nn.ReLU()
            if index in _POOLS:
                layers[f"pool{_POOLS.index(index) + 1}"] = nn.MaxPool2d(2)
        layers |= self._head(widths[-1] * height * width, classes)
        return nn.Sequential(layers)

    def _head(self, features: int, classes: int) -> OrderedDict[str, nn.Module]:
        if self.head is Head.single:
            return OrderedDict(
                pool5=nn.AvgPool2d(2), flatten=nn.Flatten(), linear1=nn.Linear(features, classes)
            )
        if self.head is Head.double:
            return OrderedDict(
                flatten=nn.Flatten(),
                dropout1=nn.Dropout(),
                linear1=nn.Linear(features, self.hidden),
                norm14=nn.BatchNorm1d(self.hidden),
                relu14=nn.ReLU(),
                dropout2=nn.Dropout(),
                linear2=nn.Linear(self.hidden, classes),
            )
        return OrderedDict(
            pool5=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            dropout1=nn.Dropout(),
            linear1=nn.Linear(features, self.hidden),
            relu14=nn.ReLU(),
            dropout2=nn.Dropout(),
            linear2=nn.Linear(self.hidden, self.hidden),
            relu15=nn.ReLU(),
            linear3=nn.Linear(self.hidden, classes),
        )
