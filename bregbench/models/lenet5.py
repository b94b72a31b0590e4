"""LeNet-5 with ReLU and max-pooling (the network of DessiLBI's MNIST experiments)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from bregbench.data.normalization import Normalization
from bregbench.foundations.errors import BenchError
from bregbench.models.base import ModelConfig
from bregbench.models.normalize import Normalize

_KERNEL = 5
# The network was designed for 32 x 32 pixels; 28 x 28 digits are padded by two on each side.
_FULL_SIDE = 32
_PADDING = 2


@dataclass
class Lenet5(ModelConfig):
    """Convolutions to 6, 16 and 120 channels, then fully connected layers to 84 and the classes.

    The layer to 120 is a convolution, as in LeCun's network and DessiLBI's code, so penalties on
    filters cover it; on 28 x 28 or 32 x 32 images it sees all of its 5 x 5 input. Images below 32
    pixels are padded by two. Modules: ``normalize, conv1, pool1, relu1, conv2, pool2, relu2, conv3,
    relu3, flatten, linear1, relu4, linear2``. On 1 x 28 x 28 images: 61,470 weights and 61,706
    parameters.

    Attributes:
        resize: whether images are enlarged to 32 x 32 (bilinear) in place of the padding, by a module
            ``resize`` behind ``normalize``, as in the network of DessiLBI's Figure 1.
    """

    kind: ClassVar[str] = "lenet5"

    resize: bool = False

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> nn.Sequential:
        """See `ModelConfig.build`."""
        channels, height, width = input_shape
        normalize = Normalize(normalization or Normalization.identity(channels))
        layers = OrderedDict[str, nn.Module](normalize=normalize)
        if self.resize:
            height = width = _FULL_SIDE
            layers["resize"] = nn.Upsample((height, width), mode="bilinear")
        padding = _PADDING if min(height, width) < _FULL_SIDE else 0
        sides = [_feature_side(side + 2 * padding) for side in (height, width)]
        if min(sides) < 1:
            raise BenchError(
                f"model=lenet5 needs images of at least 28 x 28 pixels and the data set has "
                f"{height} x {width}: use model=mlp"
            )
        return nn.Sequential(
            layers
            | OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(channels, 6, _KERNEL, padding=padding),
                pool1=nn.MaxPool2d(2),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(6, 16, _KERNEL),
                pool2=nn.MaxPool2d(2),
                relu2=nn.ReLU(),
                conv3=nn.Conv2d(16, 120, _KERNEL),
                relu3=nn.ReLU(),
                flatten=nn.Flatten(),
                linear1=nn.Linear(120 * sides[0] * sides[1], 84),
                relu4=nn.ReLU(),
                linear2=nn.Linear(84, classes),
            )
        )


def _feature_side(side: int) -> int:
    """Side of the last convolution's output, given the padded side of the image."""
    for _ in range(2):
        side = (side - _KERNEL + 1) // 2
    return side - _KERNEL + 1
