"""Products of multipliers and spectra of images, by which both parametrisations are evaluated."""

from __future__ import annotations

import torch
from torch import Tensor

from fno import dense
from fno.mixing import mix_channels
from fno.sizes import Size
from fno.spectrum import half_spectrum, image_of, resize_spectrum


def check_images(images: Tensor, channels: int) -> None:
    """Check that a layer can take images.

    Raises:
        ValueError: the images are not ``(batch, channels, height, width)``.
    """
    if images.dim() != 4 or images.shape[1] != channels:
        raise ValueError(
            f"expected images (batch, {channels} channels, height, width), got shape "
            f"{tuple(images.shape)}"
        )


def convolve(
    images: Tensor, multiplier: Tensor, kept: Size, target: Size, *, groups: int = 1
) -> Tensor:
    """Multiply spectra of images by one complex matrix over the channels per frequency.

    The values are those of `through_fft` up to rounding; `fno.dense` computes them where it is faster.
    Under compilers and exporters the FFTs are taken, which they support.

    Args:
        images: ``(batch, inputs, H, W)``, float32 or float64.
        multiplier: ``(outputs, inputs / groups, rows, columns // 2 + 1, 2)``.
        kept: (rows, columns) of the full spectrum that the multiplier covers; other frequencies are
            dropped. Along each axis this is the size of the images, or an odd smaller number.
        target: (H', W') of the result.
        groups: number of groups of channels that do not mix.

    Returns:
        ``(batch, outputs, H', W')``, in any memory order.
    """
    if by_matrices(images, multiplier.shape[0], kept, target, groups=groups):
        return dense.convolve(images, dense.factors_of(multiplier), kept)
    return through_fft(images, multiplier, kept, target, groups=groups)


def by_matrices(images: Tensor, outputs: int, kept: Size, target: Size, *, groups: int = 1) -> bool:
    """Whether `convolve` takes products of matrices for these arguments; `outputs` are channels."""
    kept_whole = groups == 1 and target == (images.shape[-2], images.shape[-1])
    # Subclasses of tensors, such as the fake tensors of tracers, cannot multiply the cached matrices.
    plain = not torch.compiler.is_compiling() and type(images) is Tensor
    on_cpu = plain and images.device.type == "cpu"
    return on_cpu and kept_whole and dense.fits(images, outputs, kept)


def through_fft(
    images: Tensor, multiplier: Tensor, kept: Size, target: Size, *, groups: int = 1
) -> Tensor:
    """The reference form of `convolve`, by FFTs; arguments and result are those of `convolve`."""
    source = (images.shape[-2], images.shape[-1])
    spectrum = resize_spectrum(half_spectrum(images), source, kept, "coefficients")
    mixed = mix_channels(spectrum, multiplier, groups=groups)
    return image_of(resize_spectrum(mixed, kept, target, "coefficients"), target)
