"""The combined objective in anybody's loop."""

from __future__ import annotations

import doctest
import importlib
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bregman import AdaBreg, LinBreg, penalize
from clip import (
    Clip,
    Discrepancy,
    NoisyData,
    PairSet,
    PenalisedLoss,
    WeightPenalty,
    lower_bound,
)
from tests.clip.training import batches, fit, fit_plainly, random_pairs, same, smooth_network, state


def drawing_network() -> nn.Sequential:
    """Draws from torch's global stream and keeps statistics of batches."""
    layers = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3)
    return nn.Sequential(*layers).double()


def noisy_pairs(**settings) -> PairSet:
    images = torch.rand(20, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return PairSet(NoisyData(images, count=12), value_range=(0.0, 1.0), **settings)


@pytest.mark.parametrize("module", ["clip", "clip.objective"])
def test_examples_in_docstrings(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    "lam", [0.0, Discrepancy(1.0, step=0.1), Discrepancy(0.0, step=0.1, start=5.0, warmup=99)]
)
def test_weight_zero_is_plain_training_to_the_bit(lam):
    """The same weights, statistics and numbers for everybody else's random stream."""
    results = []
    for clip in (False, True):
        torch.manual_seed(1)
        model = drawing_network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        if clip:
            objective = Clip(model, F.cross_entropy, noisy_pairs(refresh=2), lam=lam)
            for batch in batches(6):
                fit(objective, model, optimizer, [batch])
                objective.update(0.8)
                objective.end_epoch()
        else:
            fit_plainly(model, optimizer, batches(6))
        results.append([*state(model), torch.get_rng_state()])
    assert same(*results)


def test_penalty_leaves_streams_and_statistics_alone():
    """Statistics of the first batch and the stream after training, whatever the weight."""
    results = []
    for lam in (0.0, 0.7):
        torch.manual_seed(1)
        model = drawing_network()
        objective = Clip(model, F.cross_entropy, noisy_pairs(refresh=2), lam=lam)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        fit(objective, model, optimizer, batches(1))
        statistics = [buffer.clone() for buffer in model.buffers()]
        fit(objective, model, optimizer, batches(4))
        results.append((statistics, torch.get_rng_state(), state(model)))
    assert same(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not same(results[0][2], results[1][2]), "the penalty did nothing"


def test_warm_up_ends():
    rule = Discrepancy(0.0, step=0.0, start=1.0, warmup=2)
    model = smooth_network()
    objective = Clip(model, F.cross_entropy, noisy_pairs(), lam=rule)
    inputs, targets = next(batches(1))
    points = objective.pairs.points.clone()
    differences = []
    for epoch in range(3):
        assert torch.equal(objective.pairs.points, points), f"pairs moved before epoch {epoch}"
        found = objective(inputs, targets)
        differences.append((found.total - found.loss).item())
        objective.update(0.5)
    assert differences[:2] == [0, 0]
    assert differences[2] == pytest.approx(objective.pairs.estimate().item())


def test_total_is_equation_6():
    model = smooth_network()
    objective = Clip(model, F.cross_entropy, random_pairs(), lam=0.3, mu=0.2)
    inputs, targets = next(batches(1))
    found = objective(inputs, targets)
    size = torch.cat([p.flatten() for p in model.parameters() if p.dim() > 1]).norm()
    expected = found.loss + 0.3 * objective.pairs.estimate() + 0.2 * size
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-12)
    assert found.loss.item() == pytest.approx(F.cross_entropy(model(inputs), targets).item())
    assert torch.equal(found.outputs, model(inputs).detach())
    assert not found.loss.requires_grad
    assert not found.outputs.requires_grad


def test_batch_may_take_another_forward():
    model = smooth_network()
    objective = Clip(model, F.mse_loss, random_pairs(), lam=0.0)
    inputs = torch.rand(5, 4).double()
    found = objective(inputs, torch.zeros(5, 3).double(), forward=lambda x: 2 * model(x))
    assert torch.equal(found.outputs, 2 * model(inputs).detach())


@pytest.mark.parametrize(
    "build",
    [
        lambda model: torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9),
        lambda model: torch.optim.Adam(model.parameters(), lr=0.01),
        lambda model: LinBreg(penalize(model, lam=1e-3), lr=0.2),
        lambda model: AdaBreg(penalize(model, lam=1e-3), lr=0.01),
    ],
)
@pytest.mark.parametrize("reduction", ["best", "mean"])
def test_lower_constant_with_any_optimiser(build, reduction):
    constants = []
    for lam in (0.0, 0.5):
        torch.manual_seed(0)
        model = smooth_network()
        objective = Clip(model, F.cross_entropy, noisy_pairs(), lam=lam, reduction=reduction)
        fit(objective, model, build(model), batches(60))
        points = torch.rand(50, 4, generator=torch.Generator().manual_seed(3))
        constants.append(lower_bound(model, points, iterations=None))
    assert constants[1] < 0.8 * constants[0]


@pytest.mark.parametrize("reduction", ["best", "mean"])
def test_run_continues_to_the_bit(reduction):
    def start():
        torch.manual_seed(4)
        model = smooth_network()
        growing = Discrepancy(0.9, step=0.5, start=0.01, scale="multiplicative", warmup=2)
        objective = Clip(
            model,
            F.cross_entropy,
            noisy_pairs(refresh=5),
            reduction=reduction,
            pairs_per_step=5,
            lam=Discrepancy(0.5, step=0.1, start=0.3),
            mu=growing,
        )
        return model, objective, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def work(model, objective, optimizer, data):
        for batch in data:
            fit(objective, model, optimizer, [batch])
            objective.update(0.7)

    data = list(batches(9))
    model, objective, optimizer = start()
    work(model, objective, optimizer, data[:4])
    buffer = io.BytesIO()
    parts = [model.state_dict(), optimizer.state_dict(), objective.state_dict()]
    torch.save(parts, buffer)
    work(model, objective, optimizer, data[4:])
    buffer.seek(0)
    again = start()
    weights, momentum, penalties = torch.load(buffer, weights_only=True)
    again[0].load_state_dict(weights)
    again[2].load_state_dict(momentum)
    again[1].load_state_dict(penalties)
    work(*again, data[4:])
    assert same(state(model), state(again[0]))
    assert torch.equal(objective.pairs.points, again[1].pairs.points)
    assert objective.weights() == again[1].weights()
    assert objective.weights()["mu"] != 0.01


def test_pairs_are_refreshed_after_an_epoch():
    objective = Clip(smooth_network(), F.cross_entropy, noisy_pairs(refresh="epoch"), lam=1.0)
    before = objective.pairs.points.clone()
    objective.end_epoch()
    assert not torch.equal(objective.pairs.points[:, 0], before[:, 0])


def test_one_rule_may_steer_two_terms():
    rule = Discrepancy(0.5, step=1.0)
    objective = Clip(smooth_network(), F.cross_entropy, random_pairs(), lam=rule, mu=rule)
    objective.update(0.9)
    assert objective.weights() == {"lam": 1.0, "mu": 1.0}
    fixed = Clip(smooth_network(), F.cross_entropy, random_pairs(), lam=0.5, mu=0.25)
    fixed.update(0.9)
    assert fixed.weights() == {"lam": 0.5, "mu": 0.25}


def test_weight_on_a_device_is_not_looked_at():
    """A tensor weight of zero evaluates the penalty, and multiplies it."""
    model, rule = smooth_network(), Discrepancy(0.5, step=1.0)
    objective = Clip(model, F.cross_entropy, random_pairs(), lam=rule)
    rule.weight = torch.zeros(())
    found = objective(*next(batches(1)))
    assert found.total == found.loss
    assert objective.pairs.estimate() > 0


def test_weights_out_of_range():
    model = smooth_network()
    for lam, mu in ((-1.0, 0.0), (1.0, -1.0)):
        with pytest.raises(ValueError, match=r"Invalid (lam|mu): -1.0 \(must be >= 0"):
            Clip(model, F.cross_entropy, random_pairs(), lam=lam, mu=mu)
    with pytest.raises(ValueError, match=r"Invalid size: inf"):
        PenalisedLoss(model, F.mse_loss, {"size": (WeightPenalty(model), float("inf"))})


def test_state_of_another_objective():
    model = smooth_network()
    first = Clip(model, F.cross_entropy, random_pairs(), lam=0.1)
    second = Clip(model, F.cross_entropy, random_pairs(), lam=Discrepancy(0.5, step=0.1))
    with pytest.raises(ValueError, match=r"terms \['lam'\] with rules for \[\], this.*\['lam'\]:"):
        second.load_state_dict(first.state_dict())
