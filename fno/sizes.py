"""Sizes of images, kernels and sets of modes: one positive integer, or one per axis."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import SupportsIndex

import torch

#: Height and width.
Size = tuple[int, int]


def as_size(value: SupportsIndex | Sequence[int], name: str = "size") -> Size:
    """Read an integer or a pair as (height, width).

    Raises:
        ValueError: the value is not one or two integers, or one of them is below 1.
    """
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    try:
        height, width = (_as_side(side) for side in pair)
    except (TypeError, ValueError):
        raise ValueError(
            f"Invalid {name}: {value!r} (must be a positive int or a pair (height, width) of them)"
        ) from None
    return height, width


def _as_side(side: SupportsIndex) -> int:
    """The integer; a symbolic integer of an exporter is returned as it is.

    Raises:
        TypeError: the side is not an integer.
        ValueError: the side is below 1.
    """
    if isinstance(side, torch.SymInt):
        return side  # pyright: ignore[reportReturnType] (it acts as one)
    if isinstance(side, bool) or operator.index(side) < 1:
        raise ValueError
    return operator.index(side)


def odd(size: Size) -> Size:
    """The smallest odd size that holds the same frequencies on either side of zero."""
    return size[0] + (size[0] + 1) % 2, size[1] + (size[1] + 1) % 2


def smaller(first: Size, second: Size) -> Size:
    """The minimum per axis."""
    return min(first[0], second[0]), min(first[1], second[1])


def strided(size: Size, stride: Size) -> Size:
    """Size of the output of a size-keeping layer with a stride: size / stride, rounded up."""
    return -(-size[0] // stride[0]), -(-size[1] // stride[1])
