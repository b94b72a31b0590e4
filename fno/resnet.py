"""ResNet-18 on the torus: circular or spectral convolutions, strides by trigonometric resizing."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from bregman.modules import Conv2d
from fno.circular import CircularConv2d
from fno.resize import TrigonometricResize
from fno.spectral_conv import SpectralConv2d


class SpectralResNet18(nn.Module):
    """Stem, four stages of two basic blocks, global average pooling and a linear layer.

    A strided convolution of the ordinary ResNet-18 becomes a convolution without stride, followed by
    trigonometric resizing to half the size. Modules are named as in bregbench's ResNet-18:
    ``conv, norm, relu, pool, stage1 ... stage4, average, flatten, linear``. The defaults are the
    layout for large images (He et al. 2016), as in the paper; for small images take
    `stem_kernel=3, stem_stride=1, max_pool=False`.

    With `modes=None` convolutions are circular, in the spatial parametrisation, as in the network that
    the paper trains; `fno.spectral_network` converts this network to the spectral parametrisation. With
    an integer the modes are the trained parameters. The 1 x 1 convolutions of the shortcuts have no
    spatial extent and are equal in both parametrisations.

    Args:
        in_channels: number of channels of the images.
        classes: number of logits.
        modes: number of modes per axis of every layer; layers on smaller images use the modes that fit.
        width: channels of the stem and the first stage; each further stage doubles the channels.
        stem_kernel: kernel size of the stem.
        stem_stride: stride of the stem.
        max_pool: whether a 3 x 3 max-pooling with stride 2 follows the stem, as in the paper; pooling
            does not commute with resizing.
        striding: `"trigonometric"`, or `"sampling"` for ordinary strides (an ablation).
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 10,
        *,
        modes: int | None = None,
        width: int = 64,
        stem_kernel: int = 7,
        stem_stride: int = 2,
        max_pool: bool = True,
        striding: str = "trigonometric",
    ) -> None:
        super().__init__()
        build = _Builder(modes, striding)
        self.conv = build.conv(in_channels, width, stem_kernel, stem_stride)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, padding=1) if max_pool else nn.Identity()
        self.stage1 = _stage(build, width, width, stride=1)
        self.stage2 = _stage(build, width, 2 * width, stride=2)
        self.stage3 = _stage(build, 2 * width, 4 * width, stride=2)
        self.stage4 = _stage(build, 4 * width, 8 * width, stride=2)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(8 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of images ``(batch, in_channels, height, width)``."""
        features = self.pool(self.relu(self.norm(self.conv(images))))
        features = self.stage4(self.stage3(self.stage2(self.stage1(features))))
        return self.linear(self.flatten(self.average(features)))


class SpectralBlock(nn.Module):
    """Two convolutions with batch normalisation, added to a shortcut."""

    def __init__(self, build: _Builder, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = build.conv(inputs, outputs, 3, stride)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = build.conv(outputs, outputs, 3, 1)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = build.shortcut(inputs, outputs, stride)
        self.relu2 = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(batch, inputs, h, w)`` to ``(batch, outputs, ceil(h / s), ceil(w / s))``."""
        residual = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(features)))))
        return self.relu2(residual + self.shortcut(features))


class _Builder:
    """Makes the convolutions of one network: its parametrisation and its striding."""

    def __init__(self, modes: int | None, striding: str) -> None:
        self._modes = modes
        self._striding: str = striding

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
        if self._modes is not None:
            return SpectralConv2d(
                inputs, outputs, self._modes, stride=stride, bias=False, striding=self._striding
            )
        if stride == 1 or self._striding == "sampling":
            return CircularConv2d(inputs, outputs, kernel, stride=stride, bias=False)
        conv = CircularConv2d(inputs, outputs, kernel, bias=False)
        return nn.Sequential(
            OrderedDict[str, nn.Module](conv=conv, resize=TrigonometricResize(stride=stride))
        )

    def shortcut(self, inputs: int, outputs: int, stride: int) -> nn.Module:
        steps = OrderedDict[str, nn.Module]()
        trigonometric = stride != 1 and self._striding == "trigonometric"
        if trigonometric:
            # Resizing commutes with the 1 x 1 convolution and is done first, to convolve fewer pixels.
            steps["resize"] = TrigonometricResize(stride=stride)
        steps["conv"] = Conv2d(
            inputs, outputs, 1, stride=1 if trigonometric else stride, bias=False
        )
        steps["norm"] = nn.BatchNorm2d(outputs)
        return nn.Sequential(steps)


def _stage(build: _Builder, inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        SpectralBlock(build, inputs, outputs, stride=stride),
        SpectralBlock(build, outputs, outputs, stride=1),
    )
