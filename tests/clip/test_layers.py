"""Bounds of single layers against slopes on a grid and Jacobians by brute force."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bregman.modules import Conv2d
from clip import BoundError, ProductNorm, layer_bounds, upper_bound
from tests.clip.cases import jacobian, norm, randomize

ACTIVATIONS = [
    nn.ReLU(),
    nn.ReLU6(),
    nn.LeakyReLU(0.1),
    nn.LeakyReLU(-2.0),
    nn.PReLU(init=1.7),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.GELU(),
    nn.GELU(approximate="tanh"),
    nn.SiLU(),
    nn.Mish(),
    nn.Softplus(),
    nn.Softplus(beta=3),
    nn.ELU(),
    nn.ELU(alpha=2.0),
    nn.CELU(alpha=2.0),
    nn.SELU(),
    nn.Hardtanh(),
    nn.Hardsigmoid(),
    nn.Hardswish(),
    nn.Softsign(),
    nn.LogSigmoid(),
    nn.Softshrink(),
    nn.Tanhshrink(),
    nn.Identity(),
    nn.Dropout(0.5),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_activation_is_bounded_by_its_largest_slope(activation):
    points = torch.linspace(-40, 40, 800_001, dtype=torch.float64, requires_grad=True)
    activation = activation.double().eval()
    (slopes,) = torch.autograd.grad(activation(points).sum(), points)
    largest = float(slopes.abs().max())
    assert largest * (1 - 1e-12) <= upper_bound(activation, (3,)) <= largest * (1 + 2e-4) + 1e-3


@pytest.mark.parametrize("layer", [nn.Softmax(dim=1), nn.LogSoftmax(dim=1)], ids=str)
def test_softmax(layer):
    points = [torch.zeros(4), torch.tensor([40.0, 0, 0, 0]), torch.tensor([30.0, 30, 0, 0])]
    norms = [norm(jacobian(layer, point)) for point in (*points, *torch.randn(20, 4))]
    assert max(norms) == pytest.approx(upper_bound(layer, (4,)), rel=1e-5)


def test_linear_is_exact_for_close_singular_values():
    """Power iteration would stop early here."""
    left, _ = torch.linalg.qr(torch.randn(40, 40, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(30, 30, dtype=torch.float64))
    values = torch.linspace(1 - 1e-6, 1, 30, dtype=torch.float64)
    layer = nn.Linear(30, 40, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(left[:, :30] @ values.diag() @ right)
    bound = upper_bound(layer, (30,))
    assert 1 <= bound <= 1 + 1e-8
    assert upper_bound(layer, (7, 30)) == bound


def test_batch_norm_uses_running_statistics():
    layer = nn.BatchNorm2d(3)
    layer.running_var = torch.tensor([4.0, 1.0, 0.25])
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -3.0, 1.0]))
    assert upper_bound(layer, (3, 5, 5)) == pytest.approx(3 / math.sqrt(1 + 1e-5))
    assert upper_bound(nn.BatchNorm1d(3, affine=False), (3,)) == pytest.approx(1, rel=1e-5)
    assert layer.training


def test_batch_norm_without_statistics_is_refused():
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(BoundError, match=r"'0' \(BatchNorm1d\).*track_running_stats=True"):
        upper_bound(model, (3,))


@pytest.mark.parametrize("layer", [nn.LayerNorm(6, eps=1e-3), nn.GroupNorm(2, 6, eps=1e-3)])
def test_layer_norm_is_attained_at_constant_inputs(layer):
    nn.init.uniform_(layer.weight, -2, 2)
    nn.init.constant_(layer.weight[:3], 2.5)
    shape = (6,)
    bound = upper_bound(layer, shape)
    assert norm(jacobian(layer, torch.ones(shape))) <= bound * (1 + 1e-5)
    nn.init.constant_(layer.weight, 2.5)
    bound = upper_bound(layer, shape)
    assert bound == pytest.approx(2.5 / math.sqrt(1e-3))
    assert norm(jacobian(layer, torch.ones(shape))) == pytest.approx(bound, rel=1e-4)
    assert norm(jacobian(layer, torch.randn(shape))) < bound


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.MaxPool2d(2), 1),
        (nn.MaxPool2d(3, stride=2), 2),
        (nn.MaxPool2d(3, stride=2, padding=1), 2),
        (nn.MaxPool2d(3, stride=1, padding=1), 3),
        (nn.MaxPool2d(2, stride=3), 1),
        (nn.MaxPool2d((3, 2), stride=(1, 2)), math.sqrt(3)),
        (nn.MaxPool2d(2, stride=1, dilation=2), 2),
        (nn.MaxPool2d(3, stride=2, ceil_mode=True), 2),
        (nn.AdaptiveMaxPool2d(1), 1),
        (nn.AdaptiveMaxPool2d(3), 2),
    ],
    ids=str,
)
def test_max_pool_counts_windows(layer, expected):
    assert upper_bound(layer, (2, 8, 8)) == pytest.approx(expected)
    # One bright pixel after the other: an input that is the maximum of all its windows.
    worst = 0.0
    for place in range(64):
        image = torch.rand(1, 64, dtype=torch.float64)
        image[0, place] = 2
        worst = max(worst, norm(jacobian(layer, image.reshape(1, 8, 8))))
    assert worst == pytest.approx(expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d(3),
        nn.AvgPool2d(3, stride=2),
        nn.AvgPool2d(3, stride=2, padding=1),
        nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
        nn.AvgPool2d((2, 3), stride=(3, 1), ceil_mode=True),
        nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d((3, None)),
        nn.AdaptiveAvgPool2d(3),
    ],
    ids=str,
)
def test_average_pool_is_exact(layer):
    true = norm(jacobian(layer, torch.zeros(2, 8, 7, dtype=torch.float64)))
    assert upper_bound(layer, (2, 8, 7)) == pytest.approx(true, rel=1e-8)


def test_average_pool_closed_forms():
    assert upper_bound(nn.AvgPool2d(4), (1, 8, 8)) == pytest.approx(1 / 4)
    assert upper_bound(nn.AdaptiveAvgPool2d(1), (1, 8, 8)) == pytest.approx(1 / 8)
    assert upper_bound(nn.AvgPool1d(4), (1, 8)) == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.LSTM(3, 3), r"LSTM: this type has no rule: see clip.register_rule"),
        (nn.Threshold(0.1, 0.0), r"Threshold: this type has no rule"),
        (nn.AvgPool2d(2, divisor_override=3), r"AvgPool2d: divisor_override has no rule"),
        (nn.MaxPool2d(2, return_indices=True), r"MaxPool2d: return_indices=True"),
        (nn.Softplus(threshold=1), r"softplus jumps at its threshold, 1"),
        (nn.ModuleList([nn.ReLU()]), r"ModuleList: this type has no rule"),
    ],
    ids=str,
)
def test_layers_without_bound_are_named(layer, message):
    with pytest.raises(BoundError, match=message):
        upper_bound(layer, (3, 8, 8))
    named = nn.Sequential(nn.Identity(), nn.Sequential(layer))
    kind = type(layer).__name__
    with pytest.raises(BoundError, match=rf"module '1.0' \({kind}\)"):
        upper_bound(named, (3, 8, 8))


def test_layer_bounds_multiply_to_the_upper_bound():
    model = randomize(
        nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(3, 2), nn.GELU(), nn.Flatten()
        )
    )
    layers = layer_bounds(model, (1, 9, 9))
    assert list(layers) == ["0", "1", "2", "3", "4"]
    assert math.prod(layers.values()) == pytest.approx(upper_bound(model, (1, 9, 9)))
    assert layers["2"] == pytest.approx(2)


def test_layer_used_twice_is_listed_twice():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    layers = layer_bounds(model, (4,))
    assert list(layers) == ["0", "1", "0#2"]
    assert layers["0"] == layers["0#2"]


@pytest.mark.parametrize("padding", [0, 1])
def test_safe_convolutions_have_the_bounds_of_plain_ones(padding):
    plain = nn.Conv2d(3, 4, 1, stride=2, padding=padding)
    safe = Conv2d(3, 4, 1, stride=2, padding=padding)
    safe.load_state_dict(plain.state_dict())
    assert layer_bounds(nn.Sequential(safe), (3, 7, 8)) == layer_bounds(
        nn.Sequential(plain), (3, 7, 8)
    )
    penalties = []
    for layer in (plain, safe):
        torch.manual_seed(0)
        penalties.append(ProductNorm(nn.Sequential(layer), (3, 7, 8))())
    torch.testing.assert_close(*penalties)
