"""Convolution bounds against the largest singular value of the layer's explicit matrix."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from clip import BoundError, upper_bound
from clip.convolution import axes_of, convolution_bound, unrolled_matrix
from tests.clip.cases import norm

KERNELS = ((1, 1), (2, 2), (3, 3), (3, 2), (4, 4))
SIZES = ((5, 5), (6, 6), (7, 6))


def matrix(layer: Any, channels: int, size: tuple[int, ...]) -> torch.Tensor:
    """Inputs by outputs, by running the layer (without bias) on every unit vector."""
    count = channels * torch.Size(size).numel()
    with torch.no_grad():
        return layer(torch.eye(count, dtype=torch.float64).reshape(-1, channels, *size)).flatten(1)


def random_convolution(channels: int, outputs: int, kernel: Any, **settings: Any) -> nn.Conv2d:
    layer = nn.Conv2d(channels, outputs, kernel, bias=False, dtype=torch.float64, **settings)
    nn.init.normal_(layer.weight)
    return layer


def frequency_bound(layer: Any, size: tuple[int, ...]) -> float:
    weight, axes = layer.weight.detach(), axes_of(layer, size)
    return convolution_bound(weight, axes, groups=layer.groups, mode=layer.padding_mode)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    ("padding", "stride"), [*itertools.product((0, 1, 2, 3), (1, 2, 3)), ("same", 1)]
)
@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
def test_convolution_is_bounded(mode, padding, stride):
    for kernel, size, dilation, groups in itertools.product(KERNELS, SIZES, (1, 2), (1, 2)):
        width = 0 if padding == "same" else 2 * padding
        reach = [(taps - 1) * dilation for taps in kernel]
        if any(pixels + width < r + 1 for pixels, r in zip(size, reach, strict=True)):
            continue
        layer = random_convolution(
            2,
            4,
            kernel,
            padding=padding,
            padding_mode=mode,
            stride=stride,
            dilation=dilation,
            groups=groups,
        )
        explicit = matrix(layer, 2, size)
        true, bound = norm(explicit), frequency_bound(layer, size)
        where = f"{kernel=} {size=} {dilation=} {groups=}"
        assert bound >= true * (1 - 1e-12), where
        keeps_size = padding == "same" or all(width == r for r in reach)
        if mode == "circular" and stride == 1 and keeps_size:
            assert bound == pytest.approx(true, rel=1e-8), where
        # The layer is small enough for `upper_bound` to unroll it, which is always exact.
        assert upper_bound(layer, (2, *size)) == pytest.approx(true, rel=1e-8), where
        settings = {"groups": groups, "mode": mode}
        unrolled = unrolled_matrix(layer.weight.detach(), axes_of(layer, size), **settings)
        torch.testing.assert_close(unrolled, explicit)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (5, 2)])
@pytest.mark.parametrize("side", [8, 11, 12])
def test_zero_padding_is_close(side, kernel, padding, stride):
    for _ in range(4):
        layer = random_convolution(3, 4, kernel, padding=padding, stride=stride)
        true, bound = norm(matrix(layer, 3, (side, side))), frequency_bound(layer, (side, side))
        assert true <= bound <= 1.25 * true


@pytest.mark.parametrize("stride", [2, 3])
def test_circular_stride_that_divides_the_size_is_exact(stride):
    layer = random_convolution(2, 4, 3, padding=1, padding_mode="circular", stride=stride)
    true = norm(matrix(layer, 2, (6, 12)))
    assert frequency_bound(layer, (6, 12)) == pytest.approx(true, rel=1e-8)


def test_stride_counts():
    """Ignoring the stride would give the norm at stride 1, which is larger."""
    strided = random_convolution(3, 4, 3, padding=1, stride=2)
    dense = random_convolution(3, 4, 3, padding=1)
    dense.load_state_dict(strided.state_dict())
    assert frequency_bound(strided, (12, 12)) < 0.9 * frequency_bound(dense, (12, 12))


def test_kernel_longer_than_the_periodic_grid_wraps():
    layer = random_convolution(1, 1, 7, padding=3, padding_mode="circular")
    true = norm(matrix(layer, 1, (4, 4)))
    assert frequency_bound(layer, (4, 4)) == pytest.approx(true, rel=1e-8)


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv3d])
def test_other_dimensions(kind):
    axes = 1 if kind is nn.Conv1d else 3
    layer = kind(2, 3, 3, padding=1, stride=2, bias=False, dtype=torch.float64)
    size = (5, 4, 6)[:axes]
    true = norm(matrix(layer, 2, size))
    assert true <= frequency_bound(layer, size) <= 1.6 * true
    assert upper_bound(layer, (2, *size)) == pytest.approx(true, rel=1e-8)


@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": 1, "padding": 0},
        {"stride": 3, "padding": 2, "dilation": 2, "groups": 2},
    ],
    ids=str,
)
def test_transposed_convolution(settings):
    layer = nn.ConvTranspose2d(4, 6, 3, bias=False, dtype=torch.float64, **settings)
    true = norm(matrix(layer, 4, (4, 5)))
    assert upper_bound(layer, (4, 4, 5)) == pytest.approx(true, rel=1e-8)


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
def test_layer_too_large_to_unroll_is_bounded(mode):
    layer = random_convolution(8, 8, 3, padding=1, padding_mode=mode)
    true = norm(matrix(layer, 8, (9, 9)))
    bound = upper_bound(layer, (8, 9, 9))
    assert bound == pytest.approx(frequency_bound(layer, (9, 9)), rel=1e-12)
    assert true <= bound * (1 + 1e-12)


def test_weights_beyond_the_range_of_squares():
    for scale in (1e-200, 1e200):
        layer = random_convolution(1, 2, 1)
        nn.init.constant_(layer.weight, scale)
        assert upper_bound(layer, (1, 4, 4)) == pytest.approx(2**0.5 * scale, rel=1e-8)


def test_zero_weights():
    layer = random_convolution(1, 2, 3)
    nn.init.zeros_(layer.weight)
    assert upper_bound(layer, (1, 4, 4)) == 0


def test_weights_that_are_not_finite():
    diverged = nn.Conv2d(1, 1, 3)
    nn.init.constant_(diverged.weight, float("nan"))
    model = nn.Sequential(nn.Conv2d(1, 1, 3), diverged)
    with pytest.raises(BoundError, match=r"module '1' \(Conv2d\): has weights that are not finite"):
        upper_bound(model, (1, 8, 8))


def test_input_that_does_not_fit():
    with pytest.raises(BoundError, match=r"Conv2d.*does not accept inputs of shape \(3, 8, 8\)"):
        upper_bound(nn.Conv2d(1, 1, 3), (3, 8, 8))
