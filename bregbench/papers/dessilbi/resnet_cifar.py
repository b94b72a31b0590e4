"""Residual networks of 6n + 2 layers for small images (He et al., 2016, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

import torch
from torch import nn

from bregbench.data.normalization import Normalization
from bregbench.foundations.errors import require
from bregbench.foundations.ranges import check_counts, check_layers
from bregbench.models.base import ModelConfig
from bregbench.models.normalize import Normalize
from bregbench.models.resnet18 import BasicBlock
from dessilbi.nodes import PaddedShortcut

#: the deepest that He et al. trained has 1202 layers
_DEEPEST = 6 * 1000 + 2


class Shortcut(StrEnum):
    """Shortcuts of blocks that change shapes: A pads with zero channels, B is a convolution.

    With `everywhere` the shortcuts of all blocks pad, so that each block can grow alone (growing experiments
    of DessiLBI).
    """

    pad = "pad"
    conv = "conv"
    everywhere = "everywhere"


@dataclass
class ResnetCifar(ModelConfig):
    """A stem, three stages of (depth - 2) / 6 basic blocks, global average pooling, a linear layer.

    Depth 20 has 269,722 parameters and 40.6 M multiply-accumulates on 3 x 32 x 32 images, depth 56
    853,018 and 125.5 M. DessiLBI's "ResNet50" is depth 50 with `shortcut=conv`: 758,554 parameters,
    111.6 M.

    Attributes:
        depth: number of layers with weights, 6 n + 2.
        widths: channels of the three stages.
        shortcut: kind of shortcut.
    """

    kind: ClassVar[str] = "resnet_cifar"

    depth: int = 20
    widths: list[int] = field(default_factory=lambda: [16, 32, 64])
    shortcut: Shortcut = Shortcut.pad

    def check(self, at: str) -> None:
        """See `ModelConfig.check`."""
        fits = self.depth >= 8 and (self.depth - 2) % 6 == 0
        require(fits, f"{at}.depth", self.depth, "6 n + 2: 8, 14, 20, 26, ...")
        check_counts(self, at, "depth", most=_DEEPEST)
        three = len(self.widths) == 3 and all(width > 0 for width in self.widths)
        require(three, f"{at}.widths", self.widths, "three positive numbers of channels")
        for width in self.widths:
            check_layers(f"{at}.widths", self.widths, [width, width], taps=9)

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> CifarResidualNetwork:
        """See `ModelConfig.build`."""
        channels = input_shape[0]
        normalize = Normalize(normalization or Normalization.identity(channels))
        return CifarResidualNetwork(
            normalize,
            channels=channels,
            classes=classes,
            blocks=(self.depth - 2) // 6,
            widths=self.widths,
            shortcut=self.shortcut,
        )


class CifarResidualNetwork(nn.Module):
    """Modules: ``normalize, conv, norm, relu, stage1, stage2, stage3, pool, flatten, linear``."""

    def __init__(
        self,
        normalize: Normalize,
        *,
        channels: int,
        classes: int,
        blocks: int,
        widths: list[int],
        shortcut: Shortcut,
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.normalize = normalize
        self.conv = nn.Conv2d(channels, first, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(first)
        self.relu = nn.ReLU()
        self.stage1 = _stage(first, first, blocks, stride=1, shortcut=shortcut)
        self.stage2 = _stage(first, second, blocks, stride=2, shortcut=shortcut)
        self.stage3 = _stage(second, third, blocks, stride=2, shortcut=shortcut)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(third, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, classes)`` of images ``(batch, channels, height, width)``."""
        features = self.relu(self.norm(self.conv(self.normalize(images))))
        features = self.stage3(self.stage2(self.stage1(features)))
        return self.linear(self.flatten(self.pool(features)))


def _block(inputs: int, outputs: int, *, stride: int, shortcut: Shortcut) -> BasicBlock:
    changes = stride != 1 or inputs != outputs
    pads = shortcut is Shortcut.everywhere or (changes and shortcut is Shortcut.pad)
    padded = PaddedShortcut(outputs, stride=stride) if pads else None
    return BasicBlock(inputs, outputs, stride=stride, shortcut=padded)


def _stage(
    inputs: int, outputs: int, blocks: int, *, stride: int, shortcut: Shortcut
) -> nn.Sequential:
    first = _block(inputs, outputs, stride=stride, shortcut=shortcut)
    others = [_block(outputs, outputs, stride=1, shortcut=shortcut) for _ in range(blocks - 1)]
    return nn.Sequential(first, *others)
