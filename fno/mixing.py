"""Products of multipliers and coefficients, summed over the input channels, for each frequency."""

from __future__ import annotations

import torch
from torch import Tensor


def mix_channels(spectrum: Tensor, multiplier: Tensor, *, groups: int = 1) -> Tensor:
    """Apply one complex matrix per frequency to the channels, in real arithmetic.

    A complex factor a + ib acts on columns (real, imaginary) as the real matrix with the rows
    (a, -b) and (b, a), so that all of it is one batched product of real matrices.

    Args:
        spectrum: ``(batch, inputs, rows, columns, 2)``.
        multiplier: ``(outputs, inputs / groups, rows, columns, 2)``.
        groups: number of groups of channels that do not mix.

    Returns:
        ``(batch, outputs, rows, columns, 2)``.
    """
    batch, inputs, rows, columns, _ = spectrum.shape
    outputs, per_group = multiplier.shape[:2]
    frequencies = rows * columns
    factors = _exchange(multiplier.reshape(outputs * per_group, frequencies, 2))
    a, b = factors.reshape(frequencies, outputs, per_group, 2).unbind(-1)
    # (frequencies, outputs, real and imaginary part of the output, inputs / groups, of the input)
    blocks = torch.stack([torch.stack([a, -b], dim=-1), torch.stack([b, a], dim=-1)], dim=2)
    matrices = blocks.reshape(frequencies * groups, 2 * outputs // groups, 2 * per_group)
    vectors = _exchange(spectrum.reshape(batch * inputs, frequencies, 2))
    vectors = vectors.reshape(frequencies, batch, groups, 2 * per_group).transpose(1, 2)
    vectors = vectors.reshape(frequencies * groups, batch, 2 * per_group)
    mixed = torch.bmm(vectors, matrices.mT)
    mixed = mixed.reshape(frequencies, groups, batch, 2 * outputs // groups).transpose(1, 2)
    mixed = _exchange(mixed.reshape(frequencies, batch * outputs, 2))
    return mixed.reshape(batch, outputs, rows, columns, 2)


def _exchange(pairs: Tensor) -> Tensor:
    """Transpose a matrix of pairs ``(n, m, 2)`` in memory, to ``(m, n, 2)``.

    torch transposes a matrix of complex numbers several times faster than it permutes three axes.
    """
    return torch.view_as_real(torch.view_as_complex(pairs.contiguous()).t().contiguous())
