"""Products with a multiplier on the spectra of images: what both parametrisations come down to."""

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
        ValueError: they are not ``(batch, channels, height, width)``.
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

    The values are those of `through_fft`, up to rounding; `fno.dense` computes them where it is
    faster. Compilers and exporters are shown FFTs, which they know.

    Args:
        images: ``(batch, inputs, H, W)``, float32 or float64.
        multiplier: ``(outputs, inputs / groups, rows, columns // 2 + 1, 2)``.
        kept: (rows, columns) of the multiplier, other frequencies are dropped; per axis the size of
            the images, or odd and smaller.
        target: (H', W') of the result.
        groups: of channels that do not mix.

    Returns:
        ``(batch, outputs, H', W')``, in any memory order.
    """
    if by_matrices(images, multiplier.shape[0], kept, target, groups=groups):
        return dense.convolve(images, dense.factors_of(multiplier), kept)
    return through_fft(images, multiplier, kept, target, groups=groups)


def by_matrices(images: Tensor, outputs: int, kept: Size, target: Size, *, groups: int = 1) -> bool:
    """Whether `convolve` takes products of matrices for these arguments and so many channels out."""
    kept_whole = groups == 1 and target == (images.shape[-2], images.shape[-1])
    # Subclasses of tensors, such as the fake ones of tracers, are not to meet the tables of matrices.
    plain = not torch.compiler.is_compiling() and type(images) is Tensor
    on_cpu = plain and images.device.type == "cpu"
    return on_cpu and kept_whole and dense.fits(images, outputs, kept)


def through_fft(
    images: Tensor, multiplier: Tensor, kept: Size, target: Size, *, groups: int = 1
) -> Tensor:
    """The reference of `convolve`, with its arguments."""
    source = (images.shape[-2], images.shape[-1])
    spectrum = resize_spectrum(half_spectrum(images), source, kept, "coefficients")
    mixed = mix_channels(spectrum, multiplier, groups=groups)
    return image_of(resize_spectrum(mixed, kept, target, "coefficients"), target)
