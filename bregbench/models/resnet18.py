"""ResNet-18 (He et al. 2016), with the stem that is usual on CIFAR or the one for ImageNet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import torch
from torch import nn

from bregbench.data.normalization import Normalization
from bregbench.foundations.ranges import MOST, check_counts, check_layers, check_numbers
from bregbench.models.base import ModelConfig
from bregbench.models.normalize import Normalize
from bregman.modules import Conv2d


class Stem(StrEnum):
    """The layers before the stages.

    `cifar` is a 3 x 3 convolution. `imagenet` is a 7 x 7 convolution with stride 2, and a 3 x 3
    max-pooling with stride 2 behind its activation.
    """

    cifar = "cifar"
    imagenet = "imagenet"


@dataclass
class Resnet18(ModelConfig):
    """Four stages of two basic blocks behind a stem.

    With width 64 on 3 x 32 x 32 images and 10 classes: 11,173,962 parameters, of which 11,159,232
    are convolution weights in 1,392,832 kernels and 5,120 are linear weights. With the stem for
    ImageNet on 3 x 224 x 224 images and 1,000 classes: 11,689,512 parameters.

    Attributes:
        width: channels of the stem and the first stage; each further stage doubles them.
        stem: before the stages.
        norm_eps: added to the variance by BatchNorm. A filter without weights has variance 0, so that its
            gradient is 1/sqrt(norm_eps) times that of a filter of variance 1: 316 with torch's 1e-5.
    """

    kind: ClassVar[str] = "resnet18"

    width: int = 64
    stem: Stem = Stem.cifar
    norm_eps: float = 1e-5

    def check(self, at: str) -> None:
        """See `ModelConfig.check`."""
        check_counts(self, at, "width", most=MOST)
        check_layers(f"{at}.width", self.width, [8 * self.width, 8 * self.width], taps=9)
        check_numbers(self, at, "norm_eps", above=0)

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> ResidualNetwork:
        """See `ModelConfig.build`."""
        channels = input_shape[0]
        normalize = Normalize(normalization or Normalization.identity(channels))
        network = ResidualNetwork(
            normalize, channels=channels, classes=classes, width=self.width, stem=self.stem
        )
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps = self.norm_eps
        return network


class ResidualNetwork(nn.Module):
    """Normalisation, stem, four stages, global average pooling and a linear layer."""

    def __init__(
        self,
        normalize: Normalize,
        *,
        channels: int,
        classes: int,
        width: int,
        stem: Stem = Stem.cifar,
    ) -> None:
        super().__init__()
        large = stem is Stem.imagenet
        self.normalize = normalize
        if large:
            self.conv = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        else:
            self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.stem_pool: nn.Module = nn.MaxPool2d(3, 2, padding=1) if large else nn.Identity()
        self.stage1 = _stage(width, width, stride=1)
        self.stage2 = _stage(width, 2 * width, stride=2)
        self.stage3 = _stage(2 * width, 4 * width, stride=2)
        self.stage4 = _stage(4 * width, 8 * width, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(8 * width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, classes)`` of images ``(batch, channels, height, width)``."""
        features = self.stem_pool(self.relu(self.norm(self.conv(self.normalize(images)))))
        features = self.stage4(self.stage3(self.stage2(self.stage1(features))))
        return self.linear(self.flatten(self.pool(features)))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, added to a shortcut.

    The default shortcut is the identity if shapes agree, else a 1 x 1 convolution with batch
    normalisation.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, shortcut: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if shortcut is not None:
            self.shortcut = shortcut
        elif stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.relu2 = nn.ReLU()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map ``(batch, inputs, h, w)`` to ``(batch, outputs, ceil(h / stride), ceil(w / stride))``."""
        residual = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(features)))))
        return self.relu2(residual + self.shortcut(features))


def _stage(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(inputs, outputs, stride=stride), BasicBlock(outputs, outputs, stride=1)
    )
