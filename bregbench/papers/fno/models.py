"""The networks of the FNO paper, with kernels given by values or by modes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from bregbench.data.normalization import Normalization
from bregbench.foundations.errors import require
from bregbench.foundations.ranges import MOST, MOST_PIXELS, check_counts, check_layers
from bregbench.models.activation import Activation
from bregbench.models.base import ModelConfig
from bregbench.models.normalize import Normalize
from fno import FourierClassifier, SpectralResNet18
from fno.choices import Striding


@dataclass
class CnnCircular(ModelConfig):
    """Circular convolutions without striding, pooling to a fixed size, a hidden layer, logits.

    The CNN of the paper's Figures 3 and 4a takes images of any size. Kernels from 10 x 10 on are applied by
    the FFT, smaller kernels from 5 x 5 on by matrix products if on the CPU; the values are equal. Modules:
    ``normalize, conv1, activation1, conv2, ..., pool, flatten, linear1, activation<n>, linear2``. With
    5 x 5 kernels on one channel: 37,586 parameters.

    Attributes:
        kernel_size: side of every kernel.
        channels: output channels of the convolutions.
        hidden: width of the fully connected layer before the logits.
        pool: height and width after average pooling.
        activation: activation after every convolution and the hidden layer: relu, or gelu, for which
            Proposition 2 of the paper holds.
        bias: whether the convolutions have biases.
    """

    kind: ClassVar[str] = "cnn_circular"

    kernel_size: int = 5
    channels: list[int] = field(default_factory=lambda: [8, 16])
    hidden: int = 128
    pool: int = 4
    activation: Activation = Activation.relu
    bias: bool = False

    def check(self, at: str) -> None:
        """See `ModelConfig.check`."""
        check_counts(self, at, "kernel_size", most=MOST_PIXELS)
        _check_classifier(self, at, taps=self.kernel_size**2)

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> nn.Sequential:
        """See `ModelConfig.build`."""
        return _classifier(
            self, input_shape, classes, normalization, {"kernel_size": self.kernel_size}
        )


@dataclass
class Fno(ModelConfig):
    """The network of `CnnCircular` with spectral layers, whose modes are trained.

    Attributes:
        modes: number of frequencies per axis of every layer, negative ones included.
        channels: output channels of the spectral layers.
        hidden: width of the fully connected layer before the logits.
        pool: height and width after average pooling.
        activation: activation after every spectral layer and the hidden layer: relu or gelu.
        bias: whether the spectral layers have biases.
        pointwise: whether the path W u of eq. 2, a 1 x 1 convolution, is added.
        balanced: whether gradients are scaled so that a step moves all frequencies equally, for methods that
            select modes.
    """

    kind: ClassVar[str] = "fno"

    modes: int = 15
    channels: list[int] = field(default_factory=lambda: [8, 16])
    hidden: int = 128
    pool: int = 4
    activation: Activation = Activation.relu
    bias: bool = False
    pointwise: bool = False
    balanced: bool = False

    def check(self, at: str) -> None:
        """See `ModelConfig.check`."""
        check_counts(self, at, "modes", most=MOST_PIXELS)
        _check_classifier(self, at, taps=2 * self.modes**2)

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> nn.Sequential:
        """See `ModelConfig.build`."""
        layers = {"modes": self.modes, "pointwise": self.pointwise, "balanced": self.balanced}
        return _classifier(self, input_shape, classes, normalization, layers)


@dataclass
class SpectralResnet18(ModelConfig):
    """ResNet-18 on the torus: circular or spectral convolutions, strides by trigonometric resizing.

    The defaults are the layout for small images. The paper's layout for 112 x 112 pixels has
    ``stem_kernel=7 stem_stride=2 max_pool=true``. The network takes images of any size.

    Attributes:
        width: channels of the stem and the first stage; each further stage doubles them.
        modes: number of trained modes per axis in every layer; None trains circular convolutions, which the
            evaluators convert.
        stem_kernel: kernel size of the stem.
        stem_stride: stride of the stem.
        max_pool: whether 3 x 3 max-pooling with stride 2, which does not commute with resizing, follows the
            stem.
        striding: the operation that replaces strided convolutions.
    """

    kind: ClassVar[str] = "spectral_resnet18"

    width: int = 64
    modes: int | None = None
    stem_kernel: int = 3
    stem_stride: int = 1
    max_pool: bool = False
    striding: Striding = Striding.trigonometric

    def check(self, at: str) -> None:
        """See `ModelConfig.check`."""
        check_counts(self, at, "width", "stem_stride", most=MOST)
        check_counts(self, at, "stem_kernel", "modes", most=MOST_PIXELS)
        last = [8 * self.width, 8 * self.width]
        check_layers(f"{at}.width", self.width, last, taps=9)
        check_layers(
            f"{at}.stem_kernel", self.stem_kernel, [1, self.width], taps=self.stem_kernel**2
        )
        check_layers(f"{at}.modes", self.modes, last, taps=2 * (self.modes or 0) ** 2)

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> SpectralResidualNetwork:
        """See `ModelConfig.build`."""
        channels = input_shape[0]
        return SpectralResidualNetwork(
            Normalize(normalization or Normalization.identity(channels)),
            in_channels=channels,
            classes=classes,
            modes=self.modes,
            width=self.width,
            stem_kernel=self.stem_kernel,
            stem_stride=self.stem_stride,
            max_pool=self.max_pool,
            striding=self.striding,
        )


class SpectralResidualNetwork(SpectralResNet18):
    """`fno.SpectralResNet18` behind an input normalisation.

    Args:
        normalize: normalisation of the input.
        arguments: arguments of `fno.SpectralResNet18`.
    """

    def __init__(self, normalize: Normalize, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.normalize = normalize

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, classes)`` of images ``(batch, channels, height, width)``."""
        return super().forward(self.normalize(images))


def _check_classifier(config: CnnCircular | Fno, at: str, *, taps: int) -> None:
    positive = all(size > 0 for size in config.channels) and len(config.channels) > 0
    require(positive, f"{at}.channels", config.channels, "one or more positive numbers")
    check_counts(config, at, "channels", "hidden", most=MOST)
    check_counts(config, at, "pool", most=MOST_PIXELS)
    check_layers(f"{at}.channels", config.channels, [1, *config.channels], taps=taps)
    linear = [config.channels[-1] * config.pool**2, config.hidden]
    check_layers(f"{at}.hidden", config.hidden, linear)
    known = config.activation in (Activation.relu, Activation.gelu)
    require(known, f"{at}.activation", config.activation.name, "relu or gelu")


def _classifier(
    config: CnnCircular | Fno,
    input_shape: tuple[int, int, int],
    classes: int,
    normalization: Normalization | None,
    layers: dict[str, Any],
) -> nn.Sequential:
    channels = input_shape[0]
    classifier = FourierClassifier(
        channels,
        classes,
        channels=config.channels,
        hidden=config.hidden,
        pool=config.pool,
        activation=config.activation,
        bias=config.bias,
        **layers,
    )
    modules = OrderedDict[str, nn.Module](
        normalize=Normalize(normalization or Normalization.identity(channels))
    )
    modules.update(classifier.named_children())
    return nn.Sequential(modules)
