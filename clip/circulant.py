"""Spectral norm of a strided convolution with periodic boundary, from its values per frequency.

A periodic convolution is block diagonal in the discrete Fourier basis: one (outputs x inputs)
matrix per frequency, and the norm is the largest of their norms (Sedghi, Gupta and Long, ICLR
2019). With stride s the kernel is first split by the position of its taps modulo s (its polyphase
components); each phase acts on its own sublattice of the input, which makes the inputs of a
frequency s times as many per axis and the grid s times as coarse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from clip.spectral import spectral_norms

# Complex entries that are held at once: 64 MiB.
_CHUNK = 2**22


def periodic_norm(
    weight: Tensor,
    *,
    groups: int,
    grid: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> float:
    """Norm of the convolution on a periodic grid with every stride-th output kept.

    Kernels longer than the grid wrap around. The weight is real, so opposite frequencies have
    conjugate matrices and half of them are enough.

    Args:
        weight: float64 ``(outputs, inputs / groups, *kernel)``.
        groups: number of groups of channels that do not mix.
        grid: periods of the axes, which are multiples of the strides.
        stride: stride of each axis.
        dilation: dilation of each axis.

    Returns:
        The norm, exact up to the enlargement by `clip.spectral.ROUNDING`.
    """
    phases, taps = _phases(weight, groups, stride, dilation)
    coarse = [size // step for size, step in zip(grid, stride, strict=True)]
    frequencies = _half_of_the_frequencies(coarse)
    chunk = max(1, _CHUNK // max(1, math.prod(phases.shape[:-1])))
    largest = 0.0
    for part in frequencies.split(chunk):
        angles = _angles(part, taps, coarse).to(weight.device)
        matrices = torch.complex(phases @ angles.cos(), phases @ angles.sin())
        norms = spectral_norms(matrices.movedim(-1, 0))
        largest = max(largest, float(norms.max()) if norms.numel() else 0.0)
    return largest


def _phases(
    weight: Tensor, groups: int, stride: Sequence[int], dilation: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Polyphase components, and where their taps lie on the coarse grid.

    Returns:
        ``(groups, outputs / groups, inputs / groups * phases, taps)`` and the int64 positions
        ``(taps, axes)``.
    """
    kernel = weight.shape[2:]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    coarse = [-(-r // s) for r, s in zip(reach, stride, strict=True)]
    spread = weight.new_zeros(
        *weight.shape[:2], *(c * s for c, s in zip(coarse, stride, strict=True))
    )
    steps = tuple(slice(0, r, d) for r, d in zip(reach, dilation, strict=True))
    spread[(slice(None), slice(None), *steps)] = weight
    axes = len(kernel)
    split = spread.reshape(
        *weight.shape[:2], *(n for c, s in zip(coarse, stride, strict=True) for n in (c, s))
    )
    # (outputs, inputs, coarse and phase of axis 1, ...) -> (outputs, inputs, phases, coarse)
    order = [0, 1, *range(3, 3 + 2 * axes, 2), *range(2, 2 + 2 * axes, 2)]
    split = split.permute(order).reshape(groups, len(weight) // groups, -1, math.prod(coarse))
    taps = torch.cartesian_prod(*map(torch.arange, coarse)).reshape(-1, axes)
    # Dilation leaves gaps between taps; positions without a non-zero weight are dropped.
    used = (split != 0).flatten(0, 2).any(dim=0)
    return split[..., used], taps[used.cpu()]


def _half_of_the_frequencies(sizes: Sequence[int]) -> Tensor:
    """One of each pair of opposite frequencies, int64 ``(frequencies, axes)``."""
    all_of_them = torch.cartesian_prod(*map(torch.arange, sizes)).reshape(-1, len(sizes))
    limits = torch.tensor(sizes)
    places = torch.tensor([math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))])
    opposite = (limits - all_of_them) % limits
    first = (all_of_them * places).sum(dim=1) <= (opposite * places).sum(dim=1)
    return all_of_them[first]


def _angles(frequencies: Tensor, taps: Tensor, sizes: Sequence[int]) -> Tensor:
    """2 pi sum over axes of frequency * tap / size, ``(taps, frequencies)``."""
    limits = torch.tensor(sizes)
    # The product is reduced modulo the size as an integer, so that it is not rounded.
    products = (taps[:, None] * frequencies[None]) % limits
    return 2 * math.pi * (products.double() / limits).sum(dim=-1)
