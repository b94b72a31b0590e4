"""Bounds of pooling layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.composition import Bound, BoundOf, Rule, Shape
from clip.evaluation import output_shape
from clip.spectral import spectral_norm


def per_axis(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """One value for each spatial axis, from torch's "an integer or a tuple"."""
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _max_pool(module: Any, shape: Shape, _: BoundOf, *, axes: int) -> Bound:
    """Square root of the largest number of windows that contain one input.

    A maximum changes by no more than the largest change in its window. So the sum of squares over the
    windows counts the change of an input at most once for each window that contains it.
    """
    result = _single_output_shape(module, shape)
    settings = [
        per_axis(value, axes)
        for value in (module.kernel_size, module.stride, module.padding, module.dilation)
    ]
    count = 1
    for size, outputs, *setting in zip(shape[-axes:], result[-axes:], *settings, strict=True):
        count *= _largest_overlap(size, outputs, *setting)
    return Bound(math.sqrt(count), result)


def _largest_overlap(
    size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int
) -> int:
    """Largest number of windows that contain one position of an axis."""
    counts = [0] * size
    for output in range(outputs):
        for tap in range(kernel):
            position = output * stride - padding + tap * dilation
            if 0 <= position < size:
                counts[position] += 1
    return max(counts)


def _adaptive_max_pool(module: Any, shape: Shape, _: BoundOf, *, axes: int) -> Bound:
    """See `_max_pool`; windows overlap if the output size does not divide the input size."""
    result = _single_output_shape(module, shape)
    count = 1
    for size, outputs in zip(shape[-axes:], result[-axes:], strict=True):
        counts = [0] * size
        for output in range(outputs):
            for position in range(output * size // outputs, -(-(output + 1) * size // outputs)):
                counts[position] += 1
        count *= max(counts)
    return Bound(math.sqrt(count), result)


def _average_pool(module: Any, shape: Shape, _: BoundOf, *, axes: int) -> Bound:
    """The exact norm, because the operator is a tensor product of averages along single axes."""
    if getattr(module, "divisor_override", None) is not None:
        raise ValueError("divisor_override has no rule: leave it out and scale the result instead")
    settings = [per_axis(v, axes) for v in (module.kernel_size, module.stride, module.padding)]

    def average(lines: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        ceil, counted = module.ceil_mode, module.count_include_pad
        return F.avg_pool1d(lines, kernel, stride, padding, ceil, counted)

    result = output_shape(module, shape)
    norms = map(_operator_norm, [average] * axes, shape[-axes:], *settings)
    return Bound(math.prod(norms), result)


def _adaptive_average_pool(module: Any, shape: Shape, _: BoundOf, *, axes: int) -> Bound:
    """The exact norm, see `_average_pool`; 1 / sqrt(pixels) for the global average."""
    result = output_shape(module, shape)
    norms = map(_operator_norm, [F.adaptive_avg_pool1d] * axes, shape[-axes:], result[-axes:])
    return Bound(math.prod(norms), result)


def _operator_norm(operator: Callable[..., Tensor], size: int, *settings: int) -> float:
    """Spectral norm of a linear map of lines of one length, from its matrix."""
    lines = torch.eye(size, dtype=torch.float64)[:, None]
    return spectral_norm(operator(lines, *settings)[:, 0])


def _single_output_shape(module: Any, shape: Shape) -> Shape:
    if module.return_indices:
        raise ValueError("return_indices=True gives two outputs, and indices have no bound")
    return output_shape(module, shape)


_BY_AXES: dict[tuple[type[nn.Module], ...], Callable[..., Bound]] = {
    (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d): _max_pool,
    (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d): _adaptive_max_pool,
    (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d): _average_pool,
    (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d): _adaptive_average_pool,
}

RULES: dict[type[nn.Module], Rule] = {
    kind: partial(rule, axes=axes)
    for kinds, rule in _BY_AXES.items()
    for axes, kind in enumerate(kinds, start=1)
}
