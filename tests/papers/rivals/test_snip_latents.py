"""SNIP, STR and spred: scores by hand, gradients by differentiation, dense limits, closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bregbench.papers.rivals.latents import STR, LatentSGD, Spred
from bregbench.papers.rivals.masks import masked_weights
from bregbench.papers.rivals.snip import snip_masks
from bregman import penalize


def network() -> Any:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 4))


def loss_of(model: nn.Module, step: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(16, 6, generator=generator)
    return cross_entropy(model(inputs), torch.randint(4, (16,), generator=generator))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()


@pytest.mark.parametrize("rounds", [1, 5])
def test_snip_keeps_exact_counts_and_leaves_the_network_as_it_was(rounds):
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    masks = snip_masks(
        model, masked_weights(model), lambda: loss_of(model), density=0.1, rounds=rounds
    )
    assert sum(int(mask.sum()) for mask in masks.values()) == 20
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(param.grad is None for param in model.parameters())


def test_snip_scores_are_those_of_the_paper():
    model = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]]))
    grad = torch.tensor([[9.0, 1.0, -1.0], [0.1, 2.0, 0.1]])
    masks = snip_masks(
        model, masked_weights(model), lambda: (model.weight * grad).sum(), density=0.5
    )
    # |w g| = 9 2 3 / 0.4 10 0.6
    assert masks["weight"].tolist() == [[True, False, True], [False, True, False]]


def test_snip_in_rounds_sees_the_network_that_is_left():
    """Two units cancel: alone each matters little, after the first round what is left matters a lot."""
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0, 0.5, 0.25]]))
    seen = []

    def loss() -> torch.Tensor:
        seen.append(model.weight.detach().clone())
        return model.weight.square().sum()

    masks = snip_masks(model, masked_weights(model), loss, density=0.25, rounds=2)
    assert masks["weight"].tolist() == [[False, True, False, False]]
    assert seen[1].tolist() == [[1.0, 2.0, 0.0, 0.0]]


def test_snip_refuses_what_has_no_gradient():
    model = network()
    with pytest.raises(ValueError, match="no gradient reaches the weights"):
        snip_masks(model, masked_weights(model), lambda: model[1].weight.sum(), density=0.1)
    with pytest.raises(ValueError, match="Invalid density"):
        snip_masks(model, masked_weights(model), lambda: loss_of(model), density=0.0)


def test_gradients_of_str():
    """Those of autograd, and the printed one of s."""
    param = nn.Parameter(torch.randn(5, 4, dtype=torch.float64))
    optimizer = STR([param], lr=1.0, start=-1.0)
    dense = optimizer.state[param]["dense"].clone().requires_grad_()
    logit = optimizer.state[param]["logit"].clone().requires_grad_()
    grad = torch.randn(5, 4, dtype=torch.float64)
    effective = dense.sign() * (dense.abs() - logit.sigmoid()).relu()
    (effective * grad).sum().backward()
    assert dense.grad is not None
    assert logit.grad is not None
    param.grad = grad.clone()
    optimizer.step()
    torch.testing.assert_close(optimizer.state[param]["dense"], (dense - dense.grad).detach())
    torch.testing.assert_close(optimizer.state[param]["logit"], (logit - logit.grad).detach())
    threshold = 1 / (1 + math.e)
    alive = dense.abs() > threshold
    printed = -threshold * (1 - threshold) * (dense.sign() * grad)[alive].sum()
    torch.testing.assert_close(logit.grad, printed)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_str_without_a_threshold_is_sgd_bit_by_bit(momentum):
    ours, theirs = network(), network()
    options = {"momentum": momentum, "nesterov": momentum > 0}
    train(ours, STR(penalize(ours, lam=1.0), 0.1, start=-100.0, **options), 15)
    train(theirs, torch.optim.SGD(theirs.parameters(), 0.1, foreach=False, **options), 15)
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))


@pytest.mark.parametrize(
    ("logit", "threshold"),
    [(-3200, 0.0), (-12, 6.144175e-06), (-8, 0.00033535014), (-5, 0.006692851), (-3, 0.047425874)],
)
def test_thresholds_of_str(logit, threshold):
    param = nn.Parameter(torch.ones(3))
    assert STR([param], 0.1, start=logit).thresholds()[param] == pytest.approx(threshold, rel=1e-6)


def test_far_below_only_decay_moves_the_threshold_and_zero_absorbs():
    param = nn.Parameter(torch.ones(3))
    optimizer = STR([param], lr=0.1, weight_decay=0.01, start=-3200.0)
    param.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.state[param]["logit"].item() == pytest.approx(-3200 * (1 - 0.001))
    param = nn.Parameter(torch.full((3,), 0.1))
    optimizer = STR([param], lr=0.1, start=0.0)
    assert not param.any()  # below sigmoid(0) = 1/2
    for _ in range(5):
        param.grad = torch.full((3,), -9.0)
        optimizer.step()
    assert not param.any()


def test_decay_makes_str_sparse():
    model = network()
    train(model, STR(penalize(model, lam=1.0), 0.5, start=-5.0, weight_decay=0.005), 150)
    weights = torch.cat([model[0].weight.flatten(), model[3].weight.flatten()])
    assert 0 < int(weights.count_nonzero()) < 0.7 * len(weights)


@pytest.mark.parametrize("target", [2.0, -0.7, 0.15, -0.02])
def test_spred_ends_at_the_soft_threshold(target):
    """Minimising (w - a)^2 / 2 with decay wd gives soft(a, wd)."""
    param = nn.Parameter(torch.tensor([0.5 * math.copysign(1, target)], dtype=torch.float64))
    optimizer = Spred([param], lr=0.1, weight_decay=0.1)
    for _ in range(3000):
        param.grad = (param - target).detach()
        optimizer.step()
    expected = math.copysign(max(abs(target) - 0.1, 0), target)
    assert param.item() == pytest.approx(expected, abs=1e-6)


def test_spred_begins_at_the_usual_weights_and_says_what_to_cut():
    model = network()
    before = model[0].weight.detach().clone()
    optimizer = Spred(penalize(model, lam=1.0), 0.1, weight_decay=0.1)
    torch.testing.assert_close(model[0].weight.detach(), before)
    state = optimizer.state[model[0].weight]
    torch.testing.assert_close(state["left"].abs(), state["right"])
    with torch.no_grad():
        model[0].weight[0, 0] = 1e-9
    small = optimizer.small()[model[0].weight]
    assert small[0, 0]
    assert int(small.sum()) == 1


@pytest.mark.parametrize("kind", [STR, Spred])
def test_resume_is_exact(kind, tmp_path):
    def make(model: nn.Module) -> LatentSGD:
        return kind(penalize(model, lam=1.0), 0.2, momentum=0.9, weight_decay=1e-2)

    whole, part, resumed = network(), network(), network()
    train(whole, make(whole), 20)
    first = make(part)
    train(part, first, 9)
    torch.save((part.state_dict(), first.state_dict()), tmp_path / "state.pt")
    weights, state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed.load_state_dict(weights)
    second = make(resumed)
    second.load_state_dict(state)
    assert all(map(torch.equal, part.parameters(), resumed.parameters()))
    train(resumed, second, 11, first=9)
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))


def test_bad_options_are_refused():
    param = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="Invalid momentum"):
        Spred([param], 0.1, momentum=1.0)
    with pytest.raises(ValueError, match="Invalid learning rate"):
        STR([param], -0.1)
