"""A convolution that is safe at every number of channels, a context of evaluation mode, compiled models."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` that evaluates a 1 x 1 kernel with a stride on the pixels that the stride leaves.

    torch's own backward pass of a 1 x 1 convolution with a stride, in channels_last layout and with
    fewer than 8 input channels, writes past the end of its memory on CPUs without AVX-512 (seen with
    torch 2.15.0: the process dies, sooner or later). Networks have such layers once filters are
    removed from them. A 1 x 1 kernel reads every `stride`-th pixel only, so a convolution without
    stride of these pixels gives the same numbers. torch itself evaluates all other kernels.

    Parameters, state dictionaries, `repr` and `forward` are those of `nn.Conv2d`, so code that handles
    an `nn.Conv2d` handles this class.

    Example:
        >>> import torch
        >>> from bregman.modules import Conv2d
        >>> Conv2d(4, 8, 1, stride=2)(torch.zeros(1, 4, 9, 9)).shape
        torch.Size([1, 8, 5, 5])
    """

    #: Tells `clip.upper_bound` that bounds of `nn.Conv2d` hold for this layer.
    computes_like_base = True

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        if not strided_pointwise(self):
            return super()._conv_forward(input, weight, bias)
        padding = self._reversed_padding_repeated_twice
        if any(padding):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            input = F.pad(input, padding, mode=mode)  # noqa: A001
        rows, columns = self.stride
        pixels = input[..., ::rows, ::columns]
        return F.conv2d(pixels, weight, bias, groups=self.groups)


def strided_pointwise(layer: nn.Conv2d) -> bool:
    """Whether a layer has a 1 x 1 kernel and a stride above 1."""
    return tuple(layer.kernel_size) == (1, 1) and tuple(layer.stride) != (1, 1)


def make_safe(layer: nn.Module) -> None:
    """Turn an `nn.Conv2d` with a 1 x 1 kernel and a stride into a `Conv2d`, in place.

    The parameters, hooks and name of the layer stay. Layers of any other type, subclasses included, are
    left alone, because they may have a forward pass of their own.
    """
    if type(layer) is nn.Conv2d and strided_pointwise(layer):
        layer.__class__ = Conv2d


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; each module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def uncompiled(model: nn.Module) -> nn.Module:
    """The module that `torch.compile` wrapped, or the model itself where nothing was compiled."""
    original = getattr(model, "_orig_mod", model)
    return original if isinstance(original, nn.Module) else model
