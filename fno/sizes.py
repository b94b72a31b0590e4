"""Sizes of images, kernels and sets of modes: one positive integer, or one per axis."""

from __future__ import annotations

from collections.abc import Sequence

#: Height and width.
Size = tuple[int, int]


def as_size(value: int | Sequence[int], name: str = "size") -> Size:
    """Read an integer or a pair as (height, width).

    Raises:
        ValueError: not one or two integers, or one of them below 1.
    """
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(side, int) and side >= 1 for side in pair):
        raise ValueError(
            f"Invalid {name}: {value!r} (must be a positive int or a pair (height, width) of them)"
        )
    return pair[0], pair[1]


def odd(size: Size) -> Size:
    """The smallest odd size that holds the same frequencies on either side of zero."""
    return size[0] + (size[0] + 1) % 2, size[1] + (size[1] + 1) % 2


def smaller(first: Size, second: Size) -> Size:
    """The minimum per axis."""
    return min(first[0], second[0]), min(first[1], second[1])


def strided(size: Size, stride: Size) -> Size:
    """What a stride leaves of a size that padding had kept: the quotient, rounded up."""
    return -(-size[0] // stride[0]), -(-size[1] // stride[1])
