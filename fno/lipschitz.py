"""Lipschitz constants of resizing and of convolutions on the torus.

Layers have a method `lipschitz_bound`, which gets the shape of an input and returns a constant in
Euclidean norms and the shape of the output. `clip.upper_bound` calls the method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from fno.sizes import Size, as_size

#: Largest slope of GELU, at sqrt(2): Phi(sqrt 2) + sqrt(2) phi(sqrt 2).
GELU_SLOPE = 0.5 * (1 + math.erf(1.0)) + math.exp(-1.0) / math.sqrt(math.pi)


def resizing_lipschitz(
    source: int | Sequence[int], target: int | Sequence[int], *, mean_norm: bool = False
) -> float:
    """Norm of trigonometric resizing between two sizes.

    In the root mean square over pixels, which approximates the L2 norm on the torus, each axis has the
    factor 1, or sqrt 2 for a reduction to an even size, which folds the Nyquist frequency. Enlargement
    keeps the norm of an image of odd size; from an even size half the energy at the Nyquist frequency is
    lost.

    Args:
        source: (H, W) of the input, or one integer for both.
        target: (H, W) of the output, or one integer for both.
        mean_norm: True: norms are root mean squares; False: Euclidean norms, which grow with the number
            of pixels.
    """
    before, after = as_size(source), as_size(target)
    folds = sum(b > a and a % 2 == 0 for b, a in zip(before, after, strict=True))
    growth = 1.0 if mean_norm else math.sqrt(math.prod(after) / math.prod(before))
    return math.sqrt(2.0) ** folds * growth


def lipschitz_constant(module: nn.Module, shape: Sequence[int]) -> tuple[float, tuple[int, ...]]:
    """Lipschitz constant of a module of this package, in Euclidean norms.

    The constant is exact for resizing and for convolutions without stride (the largest norm of the
    channel matrices over all frequencies); with a stride or GELU it is an upper bound. The function calls
    the module's method `lipschitz_bound`.

    Args:
        module: a `TrigonometricResize`, `SpectralConv2d` or `CircularConv2d`.
        shape: (channels, height, width) of one input.

    Returns:
        The constant and the shape of the output.

    Raises:
        TypeError: the module has no method `lipschitz_bound`.
        ValueError: the module does not take inputs of this shape.

    Example:
        >>> from fno import TrigonometricResize
        >>> from fno.lipschitz import lipschitz_constant
        >>> lipschitz_constant(TrigonometricResize(28), (1, 14, 14))
        (2.0, (1, 28, 28))
    """
    answer = getattr(module, "lipschitz_bound", None)
    if not callable(answer):
        raise TypeError(
            f"no constant for {type(module).__name__}: it must be a TrigonometricResize, "
            "SpectralConv2d or CircularConv2d"
        )
    return cast("tuple[float, tuple[int, ...]]", answer(shape))


def size_of(shape: Sequence[int], channels: int) -> Size:
    """Height and width of an input ``(channels, height, width)``.

    Raises:
        ValueError: the shape has another number of axes or channels.
    """
    if len(shape) != 3 or shape[0] != channels:
        raise ValueError(
            f"Invalid shape: {tuple(shape)} (must be (channels, height, width) with {channels} channels)"
        )
    return as_size(tuple(shape)[-2:])


def largest_norm(factors: Tensor, groups: int) -> float:
    """Largest spectral norm of the channel matrices of all frequencies and groups.

    Args:
        factors: ``(outputs, inputs / groups, height, width // 2 + 1, 2)``, real and imaginary parts.
        groups: number of groups of channels that do not mix.
    """
    matrices = torch.view_as_complex(factors.contiguous()).flatten(2).permute(2, 0, 1)
    parts = matrices.unflatten(1, (groups, -1))
    return float(torch.linalg.matrix_norm(parts, 2).max())
