"""Fewer modes than a kernel has: a clean cut, and the one that is behind the paper's Figure 3.

The published conversion reads the number of columns that it keeps with the parity of the image, so that
an odd number of them passes for an even one and its outer column is halved; and of the two rows at the
Nyquist frequency of an even number it takes one for both. `docs/methods/fno.md` (deviations 3, 6 and 7)
has the comparison with the published numbers.
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
    """Modes of a layer that has a multiplier up to some frequencies.

    Args:
        multiplier: ``(..., H, W // 2 + 1, 2)``.
        size: (H, W).
        count: (M1, M2), how many frequencies per axis are kept.
        truncation: `"exact"`: all frequencies below the cut are kept as they are, and the Nyquist
            frequency of an even number gets the mean of its two sides. `"published"`: see this module.

    Returns:
        ``(..., M1', M2' // 2 + 1, 2)`` and (M1', M2'): `count`, or, after a published cut, odd numbers
        that have room for the same frequencies.

    Raises:
        ValueError: the truncation is unknown, or it is the published one and leaves one column, or an
            even number of columns of an odd size, of which the published numbers say nothing.
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
    # Odd numbers hold either side of every frequency, which is all that is changed below.
    kept = odd((min(count[0], size[0]), min(count[1], size[1])))
    whole = resize_spectrum(multiplier, size, odd(size), "multiplier")
    modes = resize_spectrum(whole, odd(size), kept, "coefficients").clone()
    if cut[0] and count[0] % 2 == 0:
        top = count[0] // 2
        modes[..., top, :, :] = modes[..., top + 1, :, :]  # the row of -top stands next to it
    if cut[1] and count[1] % 2 == 1 and size[1] % 2 == 0:
        modes[..., -1, :] /= 2
    return modes, kept
