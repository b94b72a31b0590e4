"""Bounds of convolutions with any padding, stride, dilation and groups.

The bound for periodic padding at stride 1 is exact. A convolution with zero padding is the restriction
of a periodic convolution on a larger grid to images that vanish outside of their part of the grid, so
its norm is at most the periodic norm. Small layers are unrolled into their matrix, whose norm is exact
for every kind of padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.circulant import periodic_norm
from clip.composition import Bound, BoundOf, Rule, Shape
from clip.evaluation import output_shape
from clip.pooling import per_axis
from clip.spectral import as_double, spectral_norm

# Layers with a matrix of at most this many entries, and inputs or outputs, are unrolled.
_UNROLLED_ENTRIES = 2**21
_UNROLLED_SIDE = 512
_OPERATORS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@dataclass(frozen=True)
class Axis:
    """Geometry of a convolution along one axis.

    Attributes:
        size: number of inputs.
        kernel: taps.
        stride: distance between outputs.
        dilation: distance between taps.
        before: padding in front.
        after: padding behind.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def reach(self) -> int:
        """Distance between the first and the last tap."""
        return (self.kernel - 1) * self.dilation

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return (self.size + self.before + self.after - self.reach - 1) // self.stride + 1


def convolution_bound(
    weight: Tensor, axes: Sequence[Axis], *, groups: int = 1, mode: str = "zeros"
) -> float:
    """Upper bound of the spectral norm of a convolution, from its frequencies.

    The bound is exact for ``circular`` padding that keeps the size, at stride 1. With zero padding that
    keeps the size, random kernels of 3 x 3 and 5 x 5 taps on images of 8 x 8 to 16 x 16 pixels gave at
    most 1.22 times the true norm, at strides 1 and 2; the ratio falls as the image grows. The bound is
    loose for images not much larger than the kernel (up to 3 times the norm) and for paddings that
    repeat pixels (up to 5 times).

    Args:
        weight: float64 ``(outputs, inputs / groups, *kernel)``.
        axes: one for each spatial axis.
        groups: number of groups of channels that do not mix.
        mode: padding mode as in `torch.nn.Conv2d`: zeros, circular, reflect or replicate.
    """
    if mode == "zeros" or not any(axis.before or axis.after for axis in axes):
        return _zero_padded(weight, axes, groups)
    # Split the padding off as a linear map, which repeats some inputs; the convolution then has none.
    extended = [
        Axis(a.size + a.before + a.after, a.kernel, a.stride, a.dilation, 0, 0) for a in axes
    ]
    repeated = math.prod(_repetitions(axis, mode) for axis in axes)
    if mode == "circular":
        circular = _circular(weight, axes, groups)
        if all(axis.size % axis.stride == 0 for axis in axes):
            return circular
        return min(circular, math.sqrt(repeated) * _zero_padded(weight, extended, groups))
    return math.sqrt(repeated) * _zero_padded(weight, extended, groups)


def unrolled_matrix(
    weight: Tensor, axes: Sequence[Axis], *, groups: int = 1, mode: str = "zeros"
) -> Tensor:
    """The matrix of a convolution, transposed: ``(inputs, outputs)`` over all pixels."""
    sizes = [axis.size for axis in axes]
    channels = weight.shape[1] * groups
    units = torch.eye(channels * math.prod(sizes), dtype=weight.dtype, device=weight.device)
    images = units.reshape(-1, channels, *sizes)
    for index, axis in enumerate(axes):
        # One axis at a time, because torch pads by reflection only the last axes of a tensor.
        lines = images.movedim(2 + index, -1)
        flat = lines.reshape(len(images), -1, axis.size)
        padding = (axis.before, axis.after)
        padded = F.pad(flat, padding, mode="constant" if mode == "zeros" else mode)
        images = padded.reshape(*lines.shape[:-1], -1).movedim(-1, 2 + index)
    strides, dilations = [a.stride for a in axes], [a.dilation for a in axes]
    result = _OPERATORS[len(axes)](images, weight, None, strides, 0, dilations, groups)
    return result.flatten(1)


def _zero_padded(weight: Tensor, axes: Sequence[Axis], groups: int) -> float:
    """The periodic operator on a grid where the padding of both ends may share its zeros.

    The grid is so long that no output reads the image across the boundary and all outputs are distinct.
    Its length is a multiple of the stride, so that all outputs lie on multiples of the stride.
    """
    grid = []
    for axis in axes:
        overhang = axis.before + axis.after - axis.reach
        length = axis.size + max(axis.before, axis.after, overhang)
        # A single tap along an axis has the same matrix at every frequency.
        steps = 1 if axis.kernel == 1 else -(-length // axis.stride)
        grid.append(steps * axis.stride)
    return _periodic(weight, axes, groups, grid, [axis.stride for axis in axes])


def _circular(weight: Tensor, axes: Sequence[Axis], groups: int) -> float:
    """The periodic operator on the image itself.

    Outputs lie on multiples of gcd(s, n), which is the stride s if s divides the size n. Otherwise the
    layer takes only some of these outputs, and the bound is loose. Padding that is wider than the kernel
    repeats outputs.
    """
    common = [math.gcd(axis.stride, axis.size) for axis in axes]
    repeats = [
        -(-axis.outputs // (axis.size // step)) for axis, step in zip(axes, common, strict=True)
    ]
    norm = _periodic(weight, axes, groups, [axis.size for axis in axes], common)
    return math.sqrt(math.prod(repeats)) * norm


def _periodic(
    weight: Tensor, axes: Sequence[Axis], groups: int, grid: Sequence[int], stride: Sequence[int]
) -> float:
    dilation = [axis.dilation for axis in axes]
    return periodic_norm(weight, groups=groups, grid=grid, stride=stride, dilation=dilation)


def _repetitions(axis: Axis, mode: str) -> int:
    """Largest number of times that padding repeats one input."""
    positions = torch.arange(axis.size, dtype=torch.float64)[None, None]
    padded = F.pad(positions, (axis.before, axis.after), mode=mode)
    return int(padded.flatten().long().bincount().max())


def _bound(weight: Tensor, axes: Sequence[Axis], groups: int, mode: str) -> float:
    inputs = weight.shape[1] * groups * math.prod(axis.size for axis in axes)
    outputs = len(weight) * math.prod(axis.outputs for axis in axes)
    if inputs * outputs <= _UNROLLED_ENTRIES and min(inputs, outputs) <= _UNROLLED_SIDE:
        return spectral_norm(unrolled_matrix(weight, axes, groups=groups, mode=mode))
    return convolution_bound(weight, axes, groups=groups, mode=mode)


def axes_of(module: Any, sizes: Sequence[int]) -> list[Axis]:
    """Geometry of a convolution layer at the sizes of its input."""
    count = len(sizes)
    kernel, stride = per_axis(module.kernel_size, count), per_axis(module.stride, count)
    dilation = per_axis(module.dilation, count)
    if module.padding == "same":
        total = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        before = [width // 2 for width in total]
        after = [width - half for width, half in zip(total, before, strict=True)]
    else:
        padding = 0 if module.padding == "valid" else module.padding
        before = after = per_axis(padding, count)
    return list(map(Axis, sizes, kernel, stride, dilation, before, after))


def _convolution(module: Any, shape: Shape, _: BoundOf) -> Bound:
    result = output_shape(module, shape)
    axes = axes_of(module, shape[1:])
    return Bound(_bound(as_double(module.weight), axes, module.groups, module.padding_mode), result)


def _transposed(module: Any, shape: Shape, _: BoundOf) -> Bound:
    """The adjoint of the convolution that maps the outputs to the inputs, with the same norm."""
    result = output_shape(module, shape)
    axes = axes_of(module, result[1:])
    return Bound(_bound(as_double(module.weight), axes, module.groups, "zeros"), result)


RULES: dict[type[nn.Module], Rule] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _transposed),
}
