"""Conversions of single layers between their spatial and their spectral parametrisation.

Source: Lemma 3 of Kabri et al. (2023), Lemma 4.9 of the thesis. Both directions are exact on inputs of
one size, and need as many parameters per channel pair as an input has pixels. On other sizes the two
layers differ, because only the spectral layer commutes with trigonometric resizing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from fno.circular import CircularConv2d
from fno.multiplier import kernel_of_multiplier, multiplier_of_kernel
from fno.precision import wide
from fno.resize import TrigonometricResize
from fno.sizes import as_size
from fno.spectral_conv import SpectralConv2d
from fno.truncation import truncated_modes

_Layer = TypeVar("_Layer", bound=nn.Module)


def is_circular(conv: nn.Conv2d) -> bool:
    """Whether a convolution is circular and, without its stride, keeps the size."""
    if not isinstance(conv.padding, str):
        reach = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        if any(2 * padding != taps for padding, taps in zip(conv.padding, reach, strict=True)):
            return False
    elif conv.padding == "valid":
        return conv.kernel_size == (1, 1)
    return conv.padding_mode == "circular" or conv.kernel_size == (1, 1)


@torch.no_grad()
def to_spectral(
    conv: nn.Conv2d,
    size: int | Sequence[int],
    *,
    modes: int | Sequence[int] | None = None,
    truncation: str = "exact",
) -> SpectralConv2d:
    """The spectral layer that equals a circular convolution on inputs of one size.

    Args:
        conv: convolution with circular padding that keeps the size; any parities, groups and dilation. A
            stride still keeps every stride-th pixel.
        size: (H, W) of the inputs, or one integer for both.
        modes: number of modes per axis. None: as many as the size, so that the layers are equal. With
            fewer modes, the kernel of the layer has the same coefficients up to these frequencies.
        truncation: `"published"` cuts as the published code does (see `fno.truncation`), for comparisons
            with the paper's Figure 3. An even number of modes then gives a layer with one more.

    Returns:
        A new layer in the dtype and on the device of the convolution.

    Raises:
        TypeError: the layer is not an `nn.Conv2d`.
        ValueError: the padding is not circular or does not keep the size, the truncation is unknown, or
            the published truncation is not known for this size.
    """
    if not isinstance(conv, nn.Conv2d):
        raise TypeError(f"expected a torch.nn.Conv2d, got {type(conv).__name__}")
    if not is_circular(conv):
        raise ValueError(
            f"a convolution with padding={conv.padding!r}, padding_mode={conv.padding_mode!r} and "
            f"kernel_size={conv.kernel_size} is no circular convolution of constant size (train "
            "with padding='same' and padding_mode='circular', or with fno.CircularConv2d)"
        )
    grid = as_size(size)
    count = grid if modes is None else as_size(modes, "modes")
    kernels = multiplier_of_kernel(wide(conv.weight), grid, as_size(conv.dilation))
    weight, count = truncated_modes(kernels, grid, count, truncation)
    layer = SpectralConv2d(
        conv.in_channels,
        conv.out_channels,
        count,
        stride=as_size(conv.stride),
        groups=conv.groups,
        bias=conv.bias is not None,
        striding="sampling",
    ).to(conv.weight)
    layer.weight.copy_(weight)
    return _continue(layer, conv, layer.bias, conv.bias)


@torch.no_grad()
def to_spatial(spectral: SpectralConv2d, size: int | Sequence[int] | None = None) -> nn.Module:
    """The circular convolution that equals a spectral layer on inputs of one size.

    The kernel is as large as the inputs. A pointwise path W becomes part of the tap at the centre of the
    kernel.

    Args:
        spectral: the spectral layer.
        size: (H, W) of the inputs, or one integer for both; None: the number of modes.

    Returns:
        A `CircularConv2d`; for a layer with trigonometric striding or GELU, an `nn.Sequential` of a
        `CircularConv2d`, a `TrigonometricResize` and an `nn.GELU`, as needed.
    """
    grid = spectral.modes if size is None else as_size(size)
    sampling = spectral.striding == "sampling"
    conv = CircularConv2d(
        spectral.in_channels,
        spectral.out_channels,
        grid,
        stride=spectral.stride if sampling else 1,
        groups=spectral.groups,
        bias=spectral.bias is not None,
    ).to(spectral.weight)
    conv.weight.copy_(kernel_of_multiplier(spectral.multiplier(grid), grid))
    if spectral.pointwise is not None:
        centre = [(side - 1) // 2 for side in grid]
        conv.weight[:, :, centre[0], centre[1]] += spectral.pointwise.weight[:, :, 0, 0]
    _continue(conv, spectral, conv.bias, spectral.bias)
    steps: list[nn.Module] = [conv]
    if not sampling and spectral.stride != (1, 1):
        steps.append(TrigonometricResize(stride=spectral.stride))
    if spectral.activation == "gelu":
        steps.append(nn.GELU())
    return conv if len(steps) == 1 else nn.Sequential(*steps).train(spectral.training)


def _continue(
    layer: _Layer, former: nn.Module, bias: Tensor | None, former_bias: Tensor | None
) -> _Layer:
    """Copy bias, training mode and `requires_grad` from the former layer."""
    if bias is not None and former_bias is not None:
        bias.copy_(former_bias)
        bias.requires_grad_(former_bias.requires_grad)
    weight, former_weight = layer.get_parameter("weight"), former.get_parameter("weight")
    weight.requires_grad_(former_weight.requires_grad)
    return layer.train(former.training)
