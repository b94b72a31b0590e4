"""Lipschitz constants against the largest singular value of explicit matrices."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from clip import lower_bound, upper_bound
from fno import CircularConv2d, SpectralConv2d, TrigonometricResize
from fno.lipschitz import GELU_SLOPE, lipschitz_constant, resizing_lipschitz
from tests.fno.cases import EXACT, SIZES, error, matrix_of, normal


def largest_singular_value(module: nn.Module, channels: int, size: tuple[int, int]) -> float:
    return float(torch.linalg.matrix_norm(matrix_of(module, channels, size), 2))


@pytest.mark.parametrize(("source", "target"), list(itertools.product(SIZES, SIZES)))
def test_resizing_has_its_norm(source, target):
    norm = largest_singular_value(TrigonometricResize(target), 1, source)
    constant, shape = lipschitz_constant(TrigonometricResize(target), (3, *source))
    assert shape == (3, *target)
    assert abs(norm - constant) < EXACT * max(1, norm)
    mean = resizing_lipschitz(source, target, mean_norm=True)
    assert abs(mean * math.sqrt(math.prod(target) / math.prod(source)) - constant) < EXACT


def test_mean_norms_of_resizing():
    assert resizing_lipschitz(14, 28, mean_norm=True) == 1
    assert resizing_lipschitz(28, 13, mean_norm=True) == 1
    assert resizing_lipschitz(28, 28, mean_norm=True) == 1
    assert abs(resizing_lipschitz(28, (14, 28), mean_norm=True) - math.sqrt(2)) < EXACT
    assert abs(resizing_lipschitz(28, 14, mean_norm=True) - 2) < EXACT


@pytest.mark.parametrize("size", [(5, 5), (6, 6), (4, 7)])
@pytest.mark.parametrize("modes", [3, 4, 6])
@pytest.mark.parametrize("pointwise", [False, True])
def test_convolutions_have_their_norm(size, modes, pointwise):
    layer = SpectralConv2d(2, 4, modes, groups=2, bias=False, pointwise=pointwise).double()
    norm = largest_singular_value(layer, 2, size)
    constant, shape = lipschitz_constant(layer, (2, *size))
    assert shape == (4, *size)
    assert abs(norm - constant) < EXACT
    conv = CircularConv2d(2, 4, modes, groups=2, bias=False, method="fft").double()
    constant, _ = lipschitz_constant(conv, (2, *size))
    assert abs(largest_singular_value(conv, 2, size) - constant) < EXACT


@pytest.mark.parametrize("size", [(7, 7), (8, 8), (9, 6)])
@pytest.mark.parametrize("striding", ["trigonometric", "sampling"])
def test_strides_are_bounded(size, striding):
    layer = SpectralConv2d(2, 3, 5, stride=2, bias=False, striding=striding).double()
    constant, shape = lipschitz_constant(layer, (2, *size))
    assert shape == (3, *layer.output_size(size))
    norm = largest_singular_value(layer, 2, size)
    assert norm <= constant * (1 + EXACT)
    assert constant <= 4 * norm
    conv = CircularConv2d(2, 3, 3, stride=2, bias=False).double()
    constant, shape = lipschitz_constant(conv, (2, *size))
    assert tuple(conv(normal(1, 2, *size)).shape[1:]) == shape
    assert largest_singular_value(conv, 2, size) <= constant * (1 + EXACT)


def test_gelu_has_its_largest_slope():
    points = torch.linspace(1.2, 1.6, 100_001, dtype=torch.float64).requires_grad_()
    (slopes,) = torch.autograd.grad(nn.functional.gelu(points).sum(), points)
    assert error(slopes.max(), torch.tensor(GELU_SLOPE, dtype=torch.float64)) < 1e-9
    layer = SpectralConv2d(1, 1, 3).double()
    bent = SpectralConv2d(1, 1, 3, activation="gelu").double()
    bent.load_state_dict(layer.state_dict())
    constants = [lipschitz_constant(module, (1, 5, 5))[0] for module in (layer, bent)]
    assert abs(constants[1] - GELU_SLOPE * constants[0]) < EXACT


def test_other_modules_are_refused():
    with pytest.raises(TypeError, match="no constant for Linear"):
        lipschitz_constant(nn.Linear(1, 1), (1, 5, 5))


def test_bounds_of_networks_hold():
    network = nn.Sequential(
        SpectralConv2d(1, 4, 5, stride=2),
        nn.ReLU(),
        CircularConv2d(4, 4, 3),
        TrigonometricResize(3),
        nn.Flatten(),
        nn.Linear(36, 3),
    ).double()
    images = normal(8, 1, 9, 9)
    assert 0 < lower_bound(network, images) <= upper_bound(network, (1, 9, 9))
