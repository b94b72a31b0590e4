"""The ascent of pairs on their quotients: what it may do, and where it ends."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clip import Ascent, GivenPairs, PairSet, difference_quotients, lower_bound, upper_bound
from clip.ascent import Adapt
from clip.quotients import see
from tests.clip.cases import absolute_value, norm
from tests.clip.training import random_pairs, smooth_network


def quotients(model, points):
    with torch.no_grad():
        return difference_quotients(model, points)


def test_quotients_by_hand():
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    points = torch.tensor([[[0.0, 0.0], [3.0, 0.0]], [[1.0, 1.0], [1.0, 5.0]]])
    assert quotients(model, points).tolist() == [2.0, 1.0]
    diagonal = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    assert quotients(model, diagonal).item() == pytest.approx((5 / 2) ** 0.5)


@pytest.mark.parametrize("step_size", [0.01, 1.0, 1e4])
@pytest.mark.parametrize("adapt", ["none", "pair", "global"])
def test_acceptance_never_lowers_a_quotient(adapt: Adapt, step_size):
    """Also where steps are so long that without acceptance most quotients fall."""
    model, pairs = smooth_network(), random_pairs(30, value_range=(-2.0, 2.0))
    ascent = Ascent(step_size=step_size, adapt=adapt)
    before = quotients(model, pairs.points)
    start = before
    for _ in range(15):
        ascent.run(model, pairs)
        after = quotients(model, pairs.points)
        assert (after >= before).all()
        before = after
    if step_size < 100 or adapt != "none":
        assert (before > start).any()


def test_without_acceptance_long_steps_lower_quotients():
    model, pairs = smooth_network(), random_pairs(30)
    before = quotients(model, pairs.points)
    Ascent(step_size=1e4, accept=False, adapt="none").run(model, pairs)
    assert (quotients(model, pairs.points) < before).any()


def test_one_step_is_algorithm_1():
    """x += tau L grad L at both ends, with gradients by autograd; tau L grad L = tau/2 grad L^2."""
    model, pairs = smooth_network(), random_pairs()
    points = pairs.points.clone().requires_grad_()
    values = difference_quotients(model, points)
    (slopes,) = torch.autograd.grad(values.sum(), points)
    expected = points + 0.3 * values[:, None, None] * slopes
    Ascent(step_size=0.3, accept=False, adapt="none").run(model, pairs)
    torch.testing.assert_close(pairs.points, expected.detach())


def test_steps_stay_in_the_range():
    model, pairs = smooth_network(), random_pairs(30, value_range=(0.0, 1.0))
    for accept in (True, False):
        Ascent(step_size=50.0, accept=accept, adapt="none").run(model, pairs, steps=5)
        assert 0 <= pairs.points.min() <= pairs.points.max() <= 1


def test_linear_network_reaches_the_spectral_norm():
    first, second = nn.Linear(6, 9).double(), nn.Linear(9, 4).double()
    model = nn.Sequential(first, second)
    spectral = norm((second.weight @ first.weight).detach())
    pairs = random_pairs(4, inputs=6)
    assert quotients(model, pairs.points).max() < 0.9 * spectral
    Ascent().run(model, pairs, steps=600)
    assert torch.allclose(pairs.quotients, torch.full((4,), spectral).double(), rtol=1e-6)


def test_example_4_7():
    """|x| has the constant 1; pairs find it where the product of the layers' norms says 2."""
    model = absolute_value()
    pairs = PairSet(GivenPairs(torch.tensor([[[-1.0], [2.0]], [[-3.0], [2.5]]])))
    assert quotients(model, pairs.points).max() < 0.4
    estimate = Ascent().run(model, pairs, steps=200).item()
    assert estimate == pytest.approx(1, abs=1e-5)
    assert upper_bound(model, (1,)) == pytest.approx(2)


def test_pairs_find_the_steepest_point():
    """3 tanh is steepest at zero; a pair that starts on its flank gets there."""

    class Steep(nn.Module):
        def forward(self, inputs):
            return 3 * torch.tanh(inputs)

    pairs = PairSet(GivenPairs(torch.tensor([[[1.5], [0.7]]], dtype=torch.float64)))
    assert Ascent().run(Steep(), pairs, steps=300).item() == pytest.approx(3, rel=1e-4)


def test_estimate_is_a_lower_bound_near_the_jacobians():
    model, pairs = smooth_network(), random_pairs(10)
    estimate = Ascent().run(model, pairs, steps=200).item()
    assert estimate <= upper_bound(model, (4,))
    start = random_pairs(5).points.flatten(0, 1)
    ascended = lower_bound(model, start, iterations=None, ascent_steps=60, ascent_step_size=0.05)
    assert estimate == pytest.approx(ascended, rel=0.02)


def test_step_sizes_persist_and_adapt_pair_by_pair():
    model, pairs = smooth_network(), random_pairs(30)
    ascent = Ascent(step_size=300.0, growth=2.0, shrink=0.25)
    for _ in range(4):
        before, rates = quotients(model, pairs.points), pairs.rates.clone()
        ascent.run(model, pairs)
        moved = quotients(model, pairs.points) > before
        assert moved.any()
        assert not moved.all()
        torch.testing.assert_close(pairs.rates, rates * torch.where(moved, 2.0, 0.25))


def test_global_step_size_follows_the_majority():
    model, pairs = smooth_network(), random_pairs(30)
    for step_size, factor in ((1e-3, 1.3), (1e5, 0.5)):
        pairs.refresh()
        Ascent(step_size=step_size, adapt="global").run(model, pairs)
        assert pairs.rates.tolist() == pytest.approx([factor] * 30)


def test_step_sizes_that_have_vanished_start_again():
    """Nothing moves on a plateau: 20 halvings, then the step size begins anew."""
    model, pairs = nn.Linear(4, 2).double(), random_pairs(3)
    nn.init.zeros_(model.weight)
    Ascent().run(model, pairs, steps=20)
    assert pairs.rates.tolist() == [2.0**-20] * 3
    Ascent().run(model, pairs)
    assert pairs.rates.tolist() == [1.0] * 3


def test_range_never_makes_points_coincide():
    """x^2 is steepest at the upper end, where the cut would bring both points together."""

    class Square(nn.Module):
        def forward(self, inputs):
            return inputs.square()

    pairs = PairSet(GivenPairs(torch.tensor([[[0.8], [0.9]]])), value_range=(0.0, 1.0))
    Ascent(step_size=1.0, accept=False, adapt="none").run(Square(), pairs)
    assert pairs.points.flatten().tolist() == pytest.approx([0.8, 0.9])
    Ascent(step_size=0.02, accept=False, adapt="none").run(Square(), pairs)
    assert pairs.points.flatten().tolist() == pytest.approx([0.834, 0.934])


def test_refused_pairs_try_again_when_the_weights_move():
    """A pair at a maximum refuses every step; its step size must not vanish for good."""
    model, pairs = smooth_network(), random_pairs(5)
    Ascent().run(model, pairs, steps=600)
    assert pairs.rates.min() >= 2.0**-20
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    before = quotients(model, pairs.points)
    Ascent().run(model, pairs, steps=60)
    assert (quotients(model, pairs.points) > before).all()


def test_adapted_steps_climb_higher_than_fixed_ones():
    """From a step size that is far too long; the point of a step size that persists."""
    results = {}
    for adapt in ("none", "pair", "global"):
        torch.manual_seed(0)
        model, pairs = smooth_network(), random_pairs(20)
        results[adapt] = Ascent(step_size=300.0, adapt=adapt).run(model, pairs, steps=40).item()
    assert results["pair"] > 1.05 * results["none"]
    assert results["global"] > 1.05 * results["none"]


@pytest.mark.parametrize("accept", [True, False])
def test_coinciding_points_do_no_harm(accept):
    model = smooth_network()
    points = torch.randn(3, 2, 4, dtype=torch.float64)
    points[1, 1] = points[1, 0]
    pairs = PairSet(GivenPairs(points))
    ascent = Ascent(accept=accept, adapt="none")
    ascent.run(model, pairs, steps=3)
    assert pairs.points.isfinite().all()
    assert pairs.quotients[1] == 0
    assert torch.equal(pairs.points[1], points[1])
    for power in (1, 2):
        seen = see(model, points, list(model.parameters()), power)
        assert all(g.isfinite().all() for g in (seen.gradients, *seen.parameters) if g is not None)
    leaf = points.clone().requires_grad_()
    difference_quotients(model, leaf).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


def test_ends_do_not_collapse_into_rounding_noise():
    """Quotients of points that are too close are whatever float32 makes of a difference."""
    model = nn.Sequential(nn.Linear(20, 50), nn.Tanh(), nn.Linear(50, 10))
    nn.init.constant_(dict(model.named_parameters())["2.bias"], 10)
    generator = torch.Generator().manual_seed(2)
    near = torch.randn(50, 1, 20, generator=generator).expand(-1, 2, -1).clone()
    near[:, 1] += 1e-7 * torch.randn(50, 20, generator=generator)
    noise = quotients(model, near).max().item()
    assert noise > upper_bound(model, (20,)), "the case is harmless and tests nothing"
    pairs = PairSet(GivenPairs(near), min_distance=1e-2)
    estimate = Ascent().run(model, pairs, steps=80).item()
    distances = (pairs.points[:, 0] - pairs.points[:, 1]).norm(dim=1)
    assert distances.min() > 0.4e-2
    assert estimate <= lower_bound(
        model, pairs.points.flatten(0, 1), iterations=None, ascent_steps=5
    ) * (1 + 1e-3)


def test_constant_networks_do_not_move():
    class Constant(nn.Module):
        def forward(self, inputs):
            return torch.ones(len(inputs), 2)

    zero = nn.Linear(4, 2).double()
    nn.init.zeros_(zero.weight)
    for model in (Constant(), zero):
        pairs = random_pairs()
        before = pairs.points.clone()
        assert Ascent().run(model, pairs, steps=2) == 0
        assert torch.equal(pairs.points, before)


def test_network_that_sums_its_inputs():
    """Its gradient is one number seen at many places, which cannot be written to."""

    class Sum(nn.Module):
        def forward(self, inputs):
            return inputs.sum(dim=1, keepdim=True)

    assert Ascent().run(Sum(), random_pairs(), steps=300).item() == pytest.approx(2, rel=1e-5)


def test_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 2))
    model[1].eval()
    model.double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pairs = random_pairs()
    stream = torch.get_rng_state()
    Ascent().run(model, pairs, steps=3)
    assert torch.equal(torch.get_rng_state(), stream)
    assert [module.training for module in model] == [True, False, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_callers_without_autograd():
    model = smooth_network()
    first, second = random_pairs(), random_pairs()
    second.points.copy_(first.points)
    expected = Ascent().run(model, first, steps=3)
    with torch.no_grad():
        assert Ascent().run(model, second, steps=3) == expected


def test_quotients_are_not_taken_in_half_precision():
    model = smooth_network().float()
    points = torch.randn(6, 2, 4)
    points[:, 1] = points[:, 0] + 1e-2 * points[:, 1]
    first, second = PairSet(GivenPairs(points)), PairSet(GivenPairs(points))
    expected = Ascent().run(model, first)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Ascent().run(model, second) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_size": 0.0}, "Invalid step_size: 0.0"),
        ({"adapt": "all"}, "Invalid adapt: 'all'.*none, pair, global"),
        ({"accept": False}, "adapt='pair' with accept=False.*'none'"),
        ({"growth": 0.9}, "growth=0.9: must be at least 1"),
        ({"growth": float("inf")}, "growth=inf: must be at least 1 and finite"),
        ({"shrink": 0.0}, r"shrink=0.0: must be in \(0, 1\]"),
        ({"shrink": 1.1}, r"shrink=1.1: must be in \(0, 1\]"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        Ascent(**settings)


def test_arguments_out_of_range():
    with pytest.raises(ValueError, match="steps=0: must be at least 1"):
        Ascent().run(smooth_network(), random_pairs(), steps=0)
    with pytest.raises(ValueError, match=r"\(m, 2, \*input_shape\), got \(5, 4\)"):
        difference_quotients(smooth_network(), torch.zeros(5, 4))
