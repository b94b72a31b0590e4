r"""Multipliers: the factors by which a convolution changes every Fourier coefficient.

A circular convolution with a kernel theta on N1 x N2 pixels multiplies the coefficient of frequency
k by `T(theta)_k = sum_j theta_j exp(-2 pi i <k, j/N>)` (Lemma 3 of Kabri et al. 2023; Lemma 4.9 of
the thesis). This module converts kernels and stored modes to multipliers and back. Modes and
multipliers are half spectra as in `fno.spectrum`.

The module follows two conventions. torch's convolutions are correlations: tap t reads the pixel
t * dilation - left away, with left = dilation * (taps - 1) // 2 for "same" padding, also of even
kernels. So the kernel theta of a convolution is its weight turned around: w_t stands at entry
left - t * dilation. And the modes theta_hat of a layer are *coefficients* of its kernel: those at
the Nyquist frequency of an even number of modes are split in halves, whereas a multiplier at the
Nyquist frequency of an even image acts on both halves of the image's coefficient (eq. 8). That is
why a conversion at even sizes doubles the Nyquist row and the Nyquist column, and takes the corner
four times.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fno.sizes import Size, odd
from fno.spectrum import resize_spectrum, symmetrize


def multiplier_of_modes(modes: Tensor, count: Size, size: Size) -> Tensor:
    """Multiplier on a grid of the coefficients of a kernel: eq. 8 in one factor per frequency.

    Args:
        modes: ``(..., M1, M2 // 2 + 1, 2)``. Entries that are conjugate for a real kernel need not be
            conjugate, because they are symmetrised.
        count: (M1, M2).
        size: (H, W) of the grid.

    Returns:
        ``(..., H, W // 2 + 1, 2)``; zero at frequencies that have no mode.
    """
    coefficients = resize_spectrum(symmetrize(modes, count[1]), count, odd(count), "coefficients")
    return resize_spectrum(coefficients, odd(count), size, "multiplier")


def balance_gradients(modes: Tensor, width: int) -> Tensor:
    """Return the modes unchanged, but double the derivatives in columns that hold both k and -k.

    `symmetrize` halves the derivative of each entry of such a pair, whereas a single entry of another
    column stands for both k and -k.

    Args:
        modes: ``(..., M1, M2 // 2 + 1, 2)``.
        width: M2.
    """
    factors = torch.ones(modes.shape[-2], 1, dtype=modes.dtype, device=modes.device)
    factors[0] = 2
    if width % 2 == 0:
        factors[-1] = 2
    # 2 w - w equals w without rounding.
    return modes * factors - (modes * (factors - 1)).detach()


def modes_of_multiplier(multiplier: Tensor, size: Size, count: Size) -> Tensor:
    """Modes of a multiplier on its grid, the inverse of `multiplier_of_modes`.

    Args:
        multiplier: ``(..., H, W // 2 + 1, 2)``.
        size: (H, W).
        count: (M1, M2); higher frequencies are dropped.

    Returns:
        ``(..., M1, M2 // 2 + 1, 2)``.
    """
    coefficients = resize_spectrum(multiplier, size, odd(size), "multiplier")
    return resize_spectrum(coefficients, odd(size), count, "coefficients")


def multiplier_of_kernel(weight: Tensor, size: Size, dilation: Size = (1, 1)) -> Tensor:
    """Multiplier on a grid of a convolution with circular "same" padding: T(theta^{M -> N}).

    The kernel may be larger than the grid; it then wraps around.

    Args:
        weight: ``(..., kh, kw)`` as torch's convolutions store it.
        size: (H, W) of the grid.
        dilation: distance between taps, in pixels.

    Returns:
        ``(..., H, W // 2 + 1, 2)``.
    """
    turned = weight.flip(-2, -1)
    for axis in (-2, -1):
        turned = _periodic(turned, axis, size[axis], dilation[axis])
    return torch.view_as_real(torch.fft.rfft2(turned))


def kernel_of_multiplier(multiplier: Tensor, size: Size) -> Tensor:
    """Weight, as large as the grid, of the convolution with a multiplier: T^{-1} of Lemma 3.

    Args:
        multiplier: ``(..., H, W // 2 + 1, 2)``.
        size: (H, W).

    Returns:
        ``(..., H, W)``, a weight for circular "same" padding.
    """
    kernel = torch.fft.irfft2(torch.view_as_complex(multiplier.contiguous()), s=size)
    # Undo the flip of the weight and the shift of `_periodic`.
    shifts = [side - 1 - (side - 1) // 2 for side in size]
    return kernel.roll(shifts, (-2, -1)).flip(-2, -1)


def _periodic(turned: Tensor, axis: int, side: int, dilation: int) -> Tensor:
    """Move the taps of a flipped weight to their positions in the kernel theta on a periodic axis.

    Tap t is the entry u = taps - 1 - t of the turned weight and belongs at left - t * dilation,
    that is at u * dilation - (taps - 1) * dilation + left.
    """
    reach = (turned.shape[axis] - 1) * dilation
    if dilation > 1:
        spread = turned.new_zeros([*turned.shape[:axis], reach + 1, *turned.shape[axis:][1:]])
        index = torch.arange(0, reach + 1, dilation, device=turned.device)
        turned = spread.index_copy(axis, index, turned)
    periods = -(-(reach + 1) // side)
    missing = periods * side - (reach + 1)
    if missing:
        turned = functional.pad(turned, (0, missing) if axis == -1 else (0, 0, 0, missing))
    if periods > 1:
        turned = turned.unflatten(axis, (periods, side)).sum(axis - 1)
    return turned.roll(reach // 2 - reach, axis)
