"""The lower bound against Jacobians by brute force."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bregbench.models import Lenet5
from clip import check_bounds, lower_bound, upper_bound
from tests.clip.cases import class_means, jacobian, norm, randomize


def smooth_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 20), nn.GELU(), nn.Linear(20, 3)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("iterations", [200, None])
def test_linear_networks_have_equal_bounds(dtype, iterations):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5, dtype=dtype))
    lower = lower_bound(model, torch.randn(3, 1, 3, 4), iterations=iterations)
    upper = upper_bound(model, (1, 3, 4))
    check_bounds(lower, upper)
    assert lower == pytest.approx(upper, rel=1e-5)


@pytest.mark.parametrize("batch_size", [3, 256])
@pytest.mark.parametrize("iterations", [100, None])
def test_largest_of_the_sample(iterations, batch_size):
    model, points = smooth_network().double(), torch.randn(8, 6, dtype=torch.float64)
    true = max(norm(jacobian(model, point)) for point in points)
    lower = lower_bound(model, points, iterations=iterations, batch_size=batch_size)
    assert lower == pytest.approx(true, rel=1e-6)


def test_power_iteration_approaches_from_below():
    model, points = smooth_network().double(), torch.randn(4, 6)
    values = [lower_bound(model, points, iterations=count) for count in (1, 2, 5, 50)]
    exact = lower_bound(model, points, iterations=None)
    assert values == sorted(values)
    assert values[-1] <= exact * (1 + 1e-12)


@pytest.mark.parametrize("iterations", [20, None])
def test_ascent_raises_the_norm_to_the_maximum(iterations):
    """3 tanh is steepest at zero, and the ascent gets there from 0.8."""
    points = torch.tensor([[0.8]])

    class Scaled(nn.Module):
        def forward(self, inputs):
            return 3 * torch.tanh(inputs)

    def bound(steps, **settings):
        return lower_bound(Scaled(), points, iterations=iterations, ascent_steps=steps, **settings)

    assert bound(0) == pytest.approx(3 / torch.cosh(points).item() ** 2, rel=1e-5)
    assert bound(40, ascent_step_size=0.02) == pytest.approx(3, rel=1e-4)
    limited = bound(40, ascent_step_size=0.02, value_range=(0.5, 1.0))
    assert limited == pytest.approx(3 / torch.cosh(torch.tensor(0.5)).item() ** 2, rel=1e-5)


def test_ascent_on_piecewise_linear_network_stays():
    model, points = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 2)), torch.randn(4, 6)
    assert lower_bound(model, points, ascent_steps=3, iterations=None) == pytest.approx(
        lower_bound(model, points, iterations=None)
    )


def test_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 2))
    randomize(model)
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    lower_bound(model, torch.randn(5, 6, generator=torch.Generator()), ascent_steps=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model] == [True, False, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_callers_without_autograd():
    model, points = smooth_network(), torch.randn(3, 6)
    expected = lower_bound(model, points)
    with torch.no_grad():
        assert lower_bound(model, points) == expected
    with torch.inference_mode():
        assert lower_bound(model, points.clone()) == expected


def test_generator_decides_the_start():
    model, points = smooth_network(), torch.randn(3, 6)

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return lower_bound(model, points, iterations=1, generator=generator)

    assert draw(3) == draw(3) != draw(4)
    assert lower_bound(model, points, iterations=1) == lower_bound(model, points, iterations=1)


def test_images_are_converted_to_the_model():
    images, _ = class_means(4)
    model = Lenet5().build(input_shape=(1, 28, 28), classes=10)
    single = lower_bound(model, images.double(), iterations=None)
    assert lower_bound(model.double(), images, iterations=None) == pytest.approx(single, rel=1e-5)


def test_constant_network():
    model = nn.Linear(3, 2)
    nn.init.zeros_(model.weight)
    for iterations in (5, None):
        assert lower_bound(model, torch.randn(2, 3), iterations=iterations) == 0

    class Constant(nn.Module):
        def forward(self, inputs):
            return torch.ones(len(inputs), 2)

    for iterations in (5, None):
        assert lower_bound(Constant(), torch.randn(2, 3), iterations=iterations) == 0


@pytest.mark.parametrize("iterations", [5, None])
def test_network_that_diverged(iterations):
    model = nn.Linear(3, 2)
    nn.init.constant_(model.weight, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        lower_bound(model, torch.randn(2, 3), iterations=iterations)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": torch.zeros(0, 3)}, r"n >= 1, got \(0, 3\)"),
        ({"images": torch.zeros(3)}, r"got \(3,\)"),
        ({"iterations": 0}, "iterations=0: must be at least 1"),
        ({"ascent_steps": -1}, "ascent_steps=-1: must be at least 0"),
        ({"ascent_step_size": 0.0}, "ascent_step_size=0.0: must be positive"),
        ({"batch_size": 0}, "batch_size=0: must be at least 1"),
    ],
)
def test_settings_out_of_range(settings, message):
    settings = {"images": torch.zeros(2, 3), **settings}
    with pytest.raises(ValueError, match=message):
        lower_bound(nn.Linear(3, 2), **settings)
