"""AlexNet in the form that torchvision distributes (Krizhevsky, 2014)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import nn

from bregbench.data.normalization import Normalization
from bregbench.foundations.errors import BenchError
from bregbench.foundations.ranges import MOST, check_counts, check_layers
from bregbench.models.base import ModelConfig
from bregbench.models.normalize import Normalize

_CHANNELS = (64, 192, 384, 256, 256)
#: Side of the features before the linear layers.
_POOLED = 6
_SMALLEST = 63


@dataclass
class AlexNet(ModelConfig):
    """Five convolutions, the first 11 x 11 with stride 4, and three linear layers with dropout.

    On 3 x 224 x 224 images and 1,000 classes: 61,100,840 parameters and 714 M multiply-accumulates.
    Modules: ``normalize, conv1, relu1, pool1, conv2, relu2, pool2, conv3, relu3, conv4, relu4,
    conv5, relu5, pool3, resize, flatten, dropout1, linear1, relu6, dropout2, linear2, relu7,
    linear3``.

    Attributes:
        hidden: width of the two hidden linear layers.
    """

    kind: ClassVar[str] = "alexnet"

    hidden: int = 4096

    def check(self, at: str) -> None:
        """See `ModelConfig.check`."""
        check_counts(self, at, "hidden", most=MOST)
        check_layers(f"{at}.hidden", self.hidden, [self.hidden, self.hidden])

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> nn.Sequential:
        """See `ModelConfig.build`."""
        channels, height, width = input_shape
        if min(height, width) < _SMALLEST:
            raise BenchError(
                f"model=alexnet needs images of at least {_SMALLEST} x {_SMALLEST} pixels and the "
                f"data set has {height} x {width}: use model=vgg16 or model=resnet_cifar"
            )
        layers = OrderedDict[str, nn.Module](
            normalize=Normalize(normalization or Normalization.identity(channels))
        )
        settings = {1: (11, 4, 2), 2: (5, 1, 2)}
        pools = {1: "pool1", 2: "pool2", 5: "pool3"}
        for index, (inputs, outputs) in enumerate(pairwise([channels, *_CHANNELS]), start=1):
            kernel, stride, padding = settings.get(index, (3, 1, 1))
            layers[f"conv{index}"] = nn.Conv2d(inputs, outputs, kernel, stride, padding)
            layers[f"relu{index}"] = nn.ReLU()
            if index in pools:
                layers[pools[index]] = nn.MaxPool2d(3, 2)
        layers["resize"] = nn.AdaptiveAvgPool2d(_POOLED)
        layers["flatten"] = nn.Flatten()
        sizes = [_CHANNELS[-1] * _POOLED**2, self.hidden, self.hidden, classes]
        for index, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
            if index < len(sizes) - 1:
                layers[f"dropout{index}"] = nn.Dropout()
            layers[f"linear{index}"] = nn.Linear(inputs, outputs)
            if index < len(sizes) - 1:
                layers[f"relu{5 + index}"] = nn.ReLU()
        return nn.Sequential(layers)
