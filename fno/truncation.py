"""Truncation of a kernel to fewer modes: an exact one, and the one behind the paper's Figure 3.

The published conversion takes the parity of the kept columns from the image. For an image of even width
it treats an odd number of columns as an even one and halves the outer column. Of the two rows at the
Nyquist frequency of an even number it takes one row for both. `docs/methods/fno.md` (deviations 3, 6
and 7) compares the result with the published numbers.
"""

from __future__ import annotations

from torch import Tensor

from bregman.validation import check_choice
from fno.choices import Truncation
from fno.multiplier import modes_of_multiplier
from fno.sizes import Size, odd
from fno.spectrum import resize_spectrum


def truncated_modes(
    multiplier: Tensor, size: Size, count: Size, truncation: str
) -> tuple[Tensor, Size]:
    """Modes of the layer whose multiplier agrees with the given one up to the kept frequencies.

    Args:
        multiplier: ``(..., H, W // 2 + 1, 2)``.
        size: (H, W).
        count: (M1, M2), the number of frequencies per axis that are kept.
        truncation: `"exact"`: all frequencies below the cut are kept as they are, and the Nyquist
            frequency of an even number gets the mean of its two sides. `"published"`: see this module.

    Returns:
        ``(..., M1', M2' // 2 + 1, 2)`` and (M1', M2'): `count`, or, after a published truncation, the
        next odd numbers, which have room for both signs of the Nyquist frequency.

    Raises:
        ValueError: the truncation is unknown, or the published truncation is asked for one column, or for
            an even number of columns of an odd width, of which no published numbers exist.
    """
    check_choice("truncation", truncation, Truncation)
    cut = count[0] < size[0], count[1] < size[1]
    if truncation == "exact" or not any(cut):
        return modes_of_multiplier(multiplier, size, count), count
    if cut[1] and (count[1] == 1 or (count[1] % 2 == 0 and size[1] % 2 == 1)):
        raise ValueError(
            f"the published truncation to {count[1]} columns of {size[1]} is not known (at least 2 of "
            "an even number, or an odd number of an odd one; truncation='exact' takes all)"
        )
    # Odd numbers of modes hold both signs of each frequency, so that the code can change one of them.
    kept = odd((min(count[0], size[0]), min(count[1], size[1])))
    whole = resize_spectrum(multiplier, size, odd(size), "multiplier")
    modes = resize_spectrum(whole, odd(size), kept, "coefficients").clone()
    if cut[0] and count[0] % 2 == 0:
        top = count[0] // 2
        modes[..., top, :, :] = modes[..., top + 1, :, :]  # the row of -top stands next to it
    if cut[1] and count[1] % 2 == 1 and size[1] % 2 == 0:
        modes[..., -1, :] /= 2
    return modes, kept
