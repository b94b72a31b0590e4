r"""Convolutions on the torus as products of matrices, with the batch innermost in memory.

For many images at once, a product with a 28 x 28 matrix transforms 28 pixels about as fast as an FFT,
and it computes only the frequencies that are needed. In the memory order (width, height, channels,
batch) every step, including the mixing of channels, is a product with a matrix from the left. So no
tensor is transposed, padded or copied between the steps, and the result has the memory order of the
input. The logical shape of images stays ``(batch, channels, height, width)``.

Spectra of this module have the shape ``(columns * rows, 2 * channels, batch)``. They are half spectra as
in `fno.spectrum`, with columns outermost and real parts of all channels before imaginary parts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from fno.sizes import Size

#: Largest number of multiply-accumulates per pixel for which a product is as fast as an FFT (28 x 28
#: pixels take 90 for all frequencies).
MOST_PRODUCTS = 100


def batch_innermost(images: Tensor) -> bool:
    """Whether images ``(batch, channels, height, width)`` have the memory order of this module."""
    return images.dim() == 4 and images.permute(3, 2, 1, 0).is_contiguous()


def fits(images: Tensor, outputs: int, kept: Size) -> bool:
    """Whether this module is a faster way to convolve images on the CPU than FFTs.

    The module is faster for few frequencies, if the images have its memory order, or if they have few
    channels in comparison with the outputs, so that a copy in this order costs little.

    Args:
        images: ``(batch, channels, height, width)``.
        outputs: number of output channels.
        kept: (rows, columns) of the full spectrum that have a factor.
    """
    columns = kept[1] // 2 + 1
    products = 2 * columns + 4 * columns * kept[0] / images.shape[-1]
    turned = batch_innermost(images) or 4 * images.shape[1] <= outputs
    return products <= MOST_PRODUCTS and turned


def convolve(images: Tensor, factors: Tensor, kept: Size) -> Tensor:
    """Multiply the spectra of images by one complex matrix over the channels per frequency.

    Args:
        images: ``(batch, inputs, height, width)``.
        factors: ``(columns * rows, 2, outputs, inputs)``, real and imaginary parts.
        kept: (rows, columns) of the full spectrum; along each axis the size of the images, or an odd
            smaller number.

    Returns:
        ``(batch, outputs, height, width)``, with the batch innermost in memory.
    """
    batch, inputs, height, width = images.shape
    frequencies, _, outputs, _ = factors.shape
    columns = kept[1] // 2 + 1
    # All sizes are written out, because torch cannot infer -1 for an empty batch.
    lines = images.permute(3, 2, 1, 0).contiguous().view(width, height * inputs * batch)
    half = torch.mm(_columns_of(width, kept[1], images.dtype), lines)
    half = half.view(columns, 2 * height, inputs * batch)
    spectrum = torch.bmm(_rows_of(height, kept[0], images.dtype).expand(columns, -1, -1), half)
    a, b = factors.unbind(1)
    # The complex factor a + ib as a real matrix of columns (real, imaginary).
    matrices = torch.cat([torch.cat([a, -b], dim=2), torch.cat([b, a], dim=2)], dim=1)
    mixed = torch.bmm(matrices, spectrum.view(frequencies, 2 * inputs, batch))
    mixed = mixed.view(columns, frequencies // columns * 2, outputs * batch)
    half = torch.bmm(_from_rows(height, kept[0], images.dtype).expand(columns, -1, -1), mixed)
    result = torch.mm(
        _from_columns(width, kept[1], images.dtype),
        half.view(2 * columns, height * outputs * batch),
    )
    return result.view(width, height, outputs, batch).permute(3, 2, 1, 0)


def factors_of(multiplier: Tensor) -> Tensor:
    """Factors for `convolve` of a multiplier ``(outputs, inputs, rows, columns, 2)``."""
    turned = torch.view_as_complex(multiplier.contiguous()).permute(3, 2, 0, 1).contiguous()
    return torch.view_as_real(turned).flatten(0, 1).permute(0, 3, 1, 2)


def average_pool(images: Tensor, size: Size) -> Tensor:
    """Adaptive average pooling to ``(batch, channels, *size)`` of images with the batch innermost."""
    batch, channels, height, width = images.shape
    lines = images.permute(3, 2, 1, 0).contiguous().view(width, height * channels * batch)
    narrow = torch.mm(_windows(width, size[1], images.dtype), lines)
    narrow = narrow.view(size[1], height, channels * batch)
    low = torch.bmm(_windows(height, size[0], images.dtype).expand(size[1], -1, -1), narrow)
    return low.view(size[1], size[0], channels, batch).permute(3, 2, 1, 0)


def _table(build: Callable[[int, int, torch.dtype], Tensor]) -> Callable[..., Tensor]:
    """Cache the matrices of a builder, as ordinary tensors on the CPU in every context."""

    @functools.lru_cache(maxsize=64)
    def kept(side: int, other: int, dtype: torch.dtype) -> Tensor:
        with torch.inference_mode(False), torch.device("cpu"):
            return build(side, other, dtype)

    return kept


@_table
def _columns_of(side: int, kept: int, dtype: torch.dtype) -> Tensor:
    """Matrix from real numbers to columns 0 ... kept // 2 of coefficients, ``(2 columns, side)``."""
    angles = _angles(torch.arange(kept // 2 + 1), side)
    return _matrix(torch.stack([angles.cos(), -angles.sin()], dim=1) / side, 2, dtype)


@_table
def _rows_of(side: int, kept: int, dtype: torch.dtype) -> Tensor:
    """Matrix from real and imaginary parts ``(2, side)`` to coefficients ``(kept, 2)``."""
    angles = _angles(_row_frequencies(kept), side)
    return _matrix(_complex(angles.cos(), -angles.sin()).transpose(0, 1) / side, 2, dtype)


@_table
def _from_rows(side: int, kept: int, dtype: torch.dtype) -> Tensor:
    """Matrix from coefficients ``(kept, 2)`` to real and imaginary parts ``(2, side)``."""
    angles = _angles(_row_frequencies(kept), side).mT
    return _matrix(_complex(angles.cos(), angles.sin()).transpose(2, 3), 2, dtype)


@_table
def _from_columns(side: int, kept: int, dtype: torch.dtype) -> Tensor:
    """Matrix from columns 0 ... kept // 2 of coefficients to real numbers, ``(side, 2 columns)``."""
    angles = _angles(torch.arange(kept // 2 + 1), side).mT
    times = torch.full_like(angles, 2)  # a column also stands for the opposite column
    times[:, 0] = 1
    if kept % 2 == 0:
        times[:, -1] = 1
    parts = torch.stack([times * angles.cos(), -times * angles.sin()], dim=-1)
    return _matrix(parts, 1, dtype)


@_table
def _windows(side: int, target: int, dtype: torch.dtype) -> Tensor:
    """Matrix of the means over windows of adaptive average pooling, ``(target, side)``."""
    number, pixel = torch.arange(target)[:, None], torch.arange(side)
    begin, end = number * side // target, -(-(number + 1) * side // target)
    inside = (pixel >= begin) & (pixel < end)
    return _matrix(inside.double() / (end - begin), 1, dtype)


def _row_frequencies(count: int) -> Tensor:
    """Frequencies in the order of the FFT: 0, 1, ..., then negative ones up to -1."""
    numbers = torch.arange(count)
    return torch.where(numbers < (count + 1) // 2, numbers, numbers - count)


def _angles(frequencies: Tensor, side: int) -> Tensor:
    """Angles 2 pi k j / N, ``(frequencies, side)``; k j is reduced modulo N before it is rounded."""
    return (frequencies[:, None] * torch.arange(side) % side).double() * (2 * math.pi / side)


def _complex(cos: Tensor, sin: Tensor) -> Tensor:
    """Cos + i sin as real 2 x 2 matrices: ``(2, rows, 2, columns)`` for ``(rows, columns)``."""
    return torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)])


def _matrix(entries: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    """Entries as a matrix: the first `rows` axes form its rows, the others its columns."""
    return entries.flatten(rows).flatten(0, rows - 1).to(dtype)
