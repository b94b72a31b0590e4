r"""Half spectra of real images, and their change with the size of the image.

An image v of N1 x N2 pixels, on the grid points j/N of the torus, is the trigonometric polynomial
`sum_k c_k exp(2 pi i <k, x>)` with c_k the mean of `v_j exp(-2 pi i <k, j/N>)`. A real v has
`c_{-k} = conj(c_k)`, so the columns k2 = 0 ... N2 // 2 are enough. This package keeps them as **real**
tensors ``(..., N1, N2 // 2 + 1, 2)``: rows in the order of the FFT (0, 1, ..., then the negative
frequencies up to -1), real and imaginary part on the last axis. Only the functions next to the FFT use
complex numbers.

An even axis has one entry that stands for both N/2 and -N/2, the Nyquist frequency. A change of the size
splits or folds this entry (Kabri et al. 2023, section 3.3), in one of two ways:

| kind           | split N -> larger       | fold to an even size     | for                          |
|----------------|-------------------------|--------------------------|------------------------------|
| `coefficients` | half on either side     | sum of the two sides     | images and stored parameters |
| `multiplier`   | the same on both sides  | mean of the two sides    | factors of the coefficients  |
"""

from __future__ import annotations

import torch
from torch import Tensor

from bregman.validation import check_choice
from fno.choices import SpectrumKind
from fno.sizes import Size

# Factor of the Nyquist entry when it is split, and factor of the sum of two sides when they are folded.
_FACTORS: dict[str, tuple[float, float]] = {"coefficients": (0.5, 1.0), "multiplier": (1.0, 0.5)}


def half_spectrum(images: Tensor) -> Tensor:
    """Fourier coefficients ``(..., H, W // 2 + 1, 2)`` of real images ``(..., H, W)``."""
    return torch.view_as_real(torch.fft.rfft2(images, norm="forward"))


def image_of(spectrum: Tensor, size: Size) -> Tensor:
    """Real images ``(..., H, W)`` of coefficients ``(..., H, W // 2 + 1, 2)``."""
    return torch.fft.irfft2(torch.view_as_complex(spectrum.contiguous()), s=size, norm="forward")


def opposite(spectrum: Tensor) -> Tensor:
    """Conjugate of the entry at row -k1, for every row k1, which is the coefficient of (k1, -k2)."""
    # Row 0 is its own opposite; rows 1 ... N-1 change places with N-1 ... 1.
    mirrored = torch.cat([spectrum[..., :1, :, :], spectrum[..., 1:, :, :].flip(-3)], dim=-3)
    return torch.stack([mirrored[..., 0], -mirrored[..., 1]], dim=-1)


def symmetrize(spectrum: Tensor, width: int) -> Tensor:
    """Symmetrise the columns that hold both a frequency and its opposite, as in a real image.

    Column 0, and the last column of an even width, contain both (k1, k2) and (-k1, -k2). Each entry
    becomes the mean of itself and the conjugate of the opposite entry. Other columns contain no such
    pairs.

    Args:
        spectrum: ``(..., H, width // 2 + 1, 2)``.
        width: width of the image, which the shape of the spectrum does not determine.
    """
    last = 1 if width % 2 == 0 else 0
    inner = spectrum.shape[-2] - last
    first, between, nyquist = (
        spectrum[..., :1, :],
        spectrum[..., 1:inner, :],
        spectrum[..., inner:, :],
    )
    columns = [(first + opposite(first)) / 2, between]
    if last:
        columns.append((nyquist + opposite(nyquist)) / 2)
    return torch.cat(columns, dim=-2)


def resize_spectrum(spectrum: Tensor, source: Size, target: Size, kind: str) -> Tensor:
    """Zero-padding or truncation of a half spectrum: v^{M -> N} with Nyquist splitting.

    Args:
        spectrum: half spectrum ``(..., H, W // 2 + 1, 2)`` of a real image of the source size.
        source: (H, W).
        target: (H', W').
        kind: how Nyquist frequencies are treated, see the table of this module.

    Returns:
        ``(..., H', W' // 2 + 1, 2)``.
    """
    check_choice("kind", kind, SpectrumKind)
    split, fold = _FACTORS[kind]
    rows = _resize_rows(spectrum, target[0], split, fold)
    return _resize_columns(rows, source[1], target[1], split, fold)


def _resize_rows(spectrum: Tensor, target: int, split: float, fold: float) -> Tensor:
    source = spectrum.shape[-3]
    if source == target:
        return spectrum
    common = min(source, target)
    # Frequencies strictly below the Nyquist frequency of the smaller size: 0 ... positive - 1 stand
    # first, -negative ... -1 stand last, in either size.
    positive, negative = (common + 1) // 2, (common - 1) // 2
    parts = [spectrum[..., :positive, :, :]]
    if common % 2 == 1:
        parts.append(_zero_rows(spectrum, target - common))
    elif target > source:
        side = split * spectrum[..., positive : positive + 1, :, :]
        parts += [side, _zero_rows(spectrum, target - source - 1), side]
    else:
        below = source - positive  # the row of frequency -target / 2
        two_sides = (
            spectrum[..., positive : positive + 1, :, :] + spectrum[..., below : below + 1, :, :]
        )
        parts.append(fold * two_sides)
    parts.append(spectrum[..., source - negative :, :, :])
    return torch.cat(parts, dim=-3)


def _zero_rows(spectrum: Tensor, count: int) -> Tensor:
    shape = spectrum.shape
    return spectrum.new_zeros((*shape[:-3], max(0, count), *shape[-2:]))


def _resize_columns(
    spectrum: Tensor, source: int, target: int, split: float, fold: float
) -> Tensor:
    if source == target:
        return spectrum
    common = min(source, target)
    below = (common + 1) // 2  # columns 0 ... below - 1 are under the smaller Nyquist frequency
    parts = [spectrum[..., :below, :]]
    if common % 2 == 0:
        nyquist = spectrum[..., below : below + 1, :]
        # The column of -target / 2 is not stored; it is the opposite of the stored one.
        up = target > source
        parts.append(split * nyquist if up else fold * (nyquist + opposite(nyquist)))
    missing = target // 2 + 1 - below - (common + 1) % 2
    if missing > 0:
        shape = spectrum.shape
        parts.append(spectrum.new_zeros((*shape[:-2], missing, shape[-1])))
    return torch.cat(parts, dim=-2)
