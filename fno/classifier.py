"""The network of the paper's experiments on Fashion-MNIST, in either parametrisation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from fno.circular import CircularConv2d
from fno.pooling import AdaptiveAveragePool2d
from fno.spectral_conv import SpectralConv2d


class FourierClassifier(nn.Sequential):
    """Convolutions without striding, pooling to a fixed size, a hidden layer, logits.

    The network accepts images of any size. Its modules are ``conv1, activation1, conv2, ..., pool,
    flatten, linear1, activation<n>, linear2``. The defaults are the paper's, with the hidden layer of its
    published code; with `kernel_size=5` the network has 37,586 parameters.

    Args:
        in_channels: number of channels of the images.
        classes: number of logits.
        modes: number of modes per axis of spectral layers. Exactly one of `modes` and `kernel_size`
            must be given.
        kernel_size: kernel size of circular convolutions.
        channels: numbers of output channels of the convolutions.
        hidden: width of the fully connected layer before the logits.
        pool: height and width after average pooling.
        activation: `"relu"`, or `"gelu"`, which satisfies Proposition 2 on differentiability.
        bias: whether convolutions have biases.
        pointwise: add the path W u of eq. 2 to spectral layers.
        balanced: gradients of spectral layers, see `SpectralConv2d`.

    Raises:
        ValueError: both or neither of modes and kernel_size are given, an option of spectral layers is
            given without modes, or channels are empty.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 10,
        *,
        modes: int | Sequence[int] | None = None,
        kernel_size: int | Sequence[int] | None = None,
        channels: Sequence[int] = (8, 16),
        hidden: int = 128,
        pool: int = 4,
        activation: str = "relu",
        bias: bool = False,
        pointwise: bool = False,
        balanced: bool = False,
    ) -> None:
        if not channels:
            raise ValueError(
                "Invalid channels: () (must have one number for each layer, at least one)"
            )
        if activation not in ("relu", "gelu"):
            raise ValueError(f"Invalid activation: {activation!r} (must be 'relu' or 'gelu')")
        layers = OrderedDict[str, nn.Module]()
        for index, (inputs, outputs) in enumerate(pairwise([in_channels, *channels]), start=1):
            layers[f"conv{index}"] = convolution(
                inputs,
                outputs,
                modes=modes,
                kernel_size=kernel_size,
                bias=bias,
                pointwise=pointwise,
                balanced=balanced,
            )
            layers[f"activation{index}"] = _activation(activation)
        layers["pool"] = AdaptiveAveragePool2d(pool)
        layers["flatten"] = nn.Flatten()
        layers["linear1"] = nn.Linear(channels[-1] * pool * pool, hidden)
        layers[f"activation{len(channels) + 1}"] = _activation(activation)
        layers["linear2"] = nn.Linear(hidden, classes)
        super().__init__(layers)


def convolution(
    inputs: int,
    outputs: int,
    *,
    modes: int | Sequence[int] | None,
    kernel_size: int | Sequence[int] | None,
    bias: bool,
    pointwise: bool = False,
    balanced: bool = False,
) -> nn.Module:
    """A spectral layer if modes are given, a circular convolution if a kernel size is given.

    Raises:
        ValueError: both or neither are given, or an option of spectral layers is given without modes.
    """
    if (modes is None) == (kernel_size is None):
        raise ValueError(
            f"give modes or kernel_size, not both or neither ({modes=}, {kernel_size=})"
        )
    if modes is not None:
        return SpectralConv2d(
            inputs, outputs, modes, bias=bias, pointwise=pointwise, balanced=balanced
        )
    if pointwise:
        raise ValueError("pointwise=True needs modes (a kernel has a tap at its centre already)")
    if balanced:
        raise ValueError("balanced=True needs modes (it scales the gradients of modes)")
    assert kernel_size is not None
    return CircularConv2d(inputs, outputs, kernel_size, bias=bias)


def _activation(name: str) -> nn.Module:
    return nn.GELU() if name == "gelu" else nn.ReLU()
