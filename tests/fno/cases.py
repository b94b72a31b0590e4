"""Reference implementations, as the paper's formulas are printed: full spectra, no shortcuts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

Size = tuple[int, int]
EXACT = 1e-12
SIZES: tuple[Size, ...] = ((1, 1), (2, 3), (4, 4), (5, 5), (6, 7), (7, 6), (8, 8), (9, 4))


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def error(first: Tensor, second: Tensor) -> float:
    assert first.shape == second.shape
    return float((first.detach() - second.detach()).abs().max())


def polynomial_matrix(source: int, target: int) -> Tensor:
    """Values at i / target of the trigonometric polynomial through values at j / source.

    Frequencies above half the target are left out; the Nyquist frequency of an even source counts
    half on either side.
    """
    top = min(source, target) // 2
    j, i = torch.arange(source), torch.arange(target)
    matrix = torch.zeros(target, source, dtype=torch.float64)
    for k in range(-top, top + 1):
        share = 0.5 if 2 * abs(k) == source else 1.0
        angle = 2 * math.pi * k * (i[:, None].double() / target - j.double() / source)
        matrix += share / source * angle.cos()
    return matrix


def evaluate(images: Tensor, target: Size) -> Tensor:
    """Trigonometric interpolation by evaluating the polynomial at every point."""
    rows = polynomial_matrix(images.shape[-2], target[0])
    columns = polynomial_matrix(images.shape[-1], target[1])
    return rows @ images @ columns.mT


def full_modes(weight: Tensor, count: Size, grid: Size) -> dict[tuple[int, int], Tensor]:
    """theta_hat^{M -> M~} restricted to the frequencies of an odd grid, from a half spectrum.

    Every frequency is written down: the stored half, its conjugate, halves at Nyquist frequencies.
    """
    kernels = torch.fft.irfft2(torch.view_as_complex(weight), s=count)
    spectrum = torch.fft.fft2(kernels)
    modes = {}
    for k1 in range(-(count[0] // 2), count[0] // 2 + 1):
        for k2 in range(-(count[1] // 2), count[1] // 2 + 1):
            share = 1.0
            for k, m in ((k1, count[0]), (k2, count[1])):
                share *= 0.5 if 2 * abs(k) == m else 1.0
            if abs(k1) <= grid[0] // 2 and abs(k2) <= grid[1] // 2:
                modes[k1, k2] = share * spectrum[..., k1 % count[0], k2 % count[1]]
    return modes


def spectral_reference(weight: Tensor, count: Size, images: Tensor) -> Tensor:
    """Eq. 8: resize to the next odd size, multiply the full spectrum, resize back."""
    size = (images.shape[-2], images.shape[-1])
    grid = (size[0] + (size[0] + 1) % 2, size[1] + (size[1] + 1) % 2)
    spectrum = torch.fft.fft2(evaluate(images, grid))
    shape = (images.shape[0], weight.shape[0], *grid)
    result = torch.zeros(shape, dtype=torch.complex128)
    for (k1, k2), mode in full_modes(weight, count, grid).items():
        place = (..., k1 % grid[0], k2 % grid[1])
        result[place] = spectrum[place] @ mode.mT
    values = torch.fft.ifft2(result)
    assert values.imag.abs().max() < EXACT
    return evaluate(values.real, size)


def convolve(kernel: Tensor, images: Tensor) -> Tensor:
    """C(theta)(v)_j = sum_k theta_k v_{j - k} for kernels ``(out, in, H, W)`` on the same grid."""
    result = torch.zeros(images.shape[0], kernel.shape[0], *images.shape[-2:], dtype=images.dtype)
    for k1 in range(kernel.shape[-2]):
        for k2 in range(kernel.shape[-1]):
            shifted = images.roll((k1, k2), (-2, -1))
            result = result + torch.einsum("bihw,oi->bohw", shifted, kernel[..., k1, k2])
    return result


def reflect(images: Tensor, *axes: int) -> Tensor:
    """v_j -> v_{-j}: the reflection that keeps the grid point 0 in its place."""
    for axis in axes:
        images = images.flip(axis).roll(1, axis)
    return images


def matrix_of(module: nn.Module, channels: int, size: Size) -> Tensor:
    """Inputs by outputs of a linear module, by running it on every unit vector."""
    count = channels * math.prod(size)
    with torch.no_grad():
        return module(torch.eye(count, dtype=torch.float64).view(-1, channels, *size)).flatten(1)
