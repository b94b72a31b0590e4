"""Propositions 2 to 4 of the CLIP paper on families small enough to be solved by grid search.

The thesis numbers Propositions 3 and 4 as 4.2 and 4.3. Lip is measured by pairs throughout.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clip import Ascent, Clip, GivenPairs, PairSet, UniformPoints

INPUTS = torch.tensor([[0.1], [0.3], [0.5], [0.9]], dtype=torch.float64)
TARGETS = torch.tensor([[0.5], [1.1], [1.9], [1.6]], dtype=torch.float64)


class Wave(nn.Module):
    """theta sin(2 x): the loss is convex in theta, and Lip = 2 |theta| is attained at x = 0."""

    def __init__(self, theta=1.0):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, inputs):
        return self.theta * torch.sin(2 * inputs)


class Ramp(Wave):
    """theta x."""

    def forward(self, inputs):
        return self.theta * inputs


def short_of_one(outputs, targets):
    return (targets - outputs).clamp(min=0).square().mean()


def steepest_pairs(model) -> PairSet:
    """Pairs that have climbed to where the family is steepest, whatever its parameter."""
    source = UniformPoints((1,), count=5, low=-0.7, high=0.7)
    pairs = PairSet(source).to(INPUTS)
    Ascent().run(model, pairs, steps=150)
    return pairs


def on_a_grid(model, loss, inputs, targets, thetas) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and Lip of every member of the family, by `Clip` with lam = 1."""
    objective = Clip(model, loss, steepest_pairs(model), lam=1.0)
    losses, constants = [], []
    with torch.no_grad():
        for theta in thetas:
            model.theta.fill_(theta)
            found = objective(inputs, targets)
            losses.append(found.loss)
            constants.append(found.total - found.loss)
    return torch.stack(losses), torch.stack(constants)


def test_proposition_2_loss_rises_and_constant_falls_with_lam():
    thetas = torch.linspace(-1, 3, 801, dtype=torch.float64)
    losses, constants = on_a_grid(Wave(), F.mse_loss, INPUTS, TARGETS, thetas)
    torch.testing.assert_close(constants, 2 * thetas.abs(), rtol=1e-4, atol=1e-12)
    lams = [0.0, 0.05, 0.1, 0.3, 0.6, 1.0, 3.0]
    best = [int((losses + lam * constants).argmin()) for lam in lams]
    chosen_losses, chosen = losses[best].tolist(), constants[best].tolist()
    assert chosen_losses == sorted(chosen_losses)
    assert chosen == sorted(chosen, reverse=True)
    assert len(set(chosen)) > 4
    # Closed form: mean((theta s - y)^2) + 2 lam |theta| is minimal at (s.y - n lam)_+ / s.s.
    waves = torch.sin(2 * INPUTS)
    for lam, index in zip(lams, best, strict=True):
        exact = ((waves * TARGETS).sum() - len(waves) * lam).clamp(min=0) / waves.square().sum()
        assert thetas[index].item() == pytest.approx(exact.item(), abs=0.0051)


@pytest.mark.parametrize("lam", [0.05, 0.3])
@pytest.mark.parametrize("reduction", ["best", "mean"])
def test_training_reaches_the_solution_of_the_grid(lam, reduction):
    model = Wave(0.3)
    objective = Clip(model, F.mse_loss, steepest_pairs(model), lam=lam, reduction=reduction)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(150):
        found = objective(INPUTS, TARGETS)
        optimizer.zero_grad()
        found.total.backward()
        optimizer.step()
    waves = torch.sin(2 * INPUTS)
    exact = ((waves * TARGETS).sum() - len(waves) * lam) / waves.square().sum()
    assert model.theta.item() == pytest.approx(exact.item(), rel=1e-3)


def test_proposition_3_least_lipschitz_interpolant():
    """Every slope of at least 1 fits exactly; of these lam -> 0 selects 1, and lam = 0 none."""
    thetas = torch.linspace(-1, 3, 2001, dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    losses, constants = on_a_grid(Ramp(), short_of_one, one, one, thetas)
    interpolants = losses == 0
    assert interpolants.sum() > 900
    least = constants[interpolants].min().item()
    for lam in (1.0, 0.1, 0.01, 0.004):
        best = int((losses + lam * constants).argmin())
        # Closed form: (1 - theta)_+^2 + lam theta is minimal at 1 - lam / 2.
        assert thetas[best].item() == pytest.approx(1 - lam / 2, abs=0.0021)
    assert constants[best].item() == pytest.approx(least, abs=0.0041)


@pytest.mark.parametrize(("lam", "ends_at"), [(0.01, 0.995), (0.0, 3.0)])
def test_training_leaves_steep_interpolants_only_with_a_penalty(lam, ends_at):
    model = Ramp(3.0)
    one = torch.ones(1, 1, dtype=torch.float64)
    objective = Clip(model, short_of_one, steepest_pairs(model), lam=lam)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(800):
        found = objective(one, one)
        optimizer.zero_grad()
        found.total.backward()
        optimizer.step()
    assert model.theta.item() == pytest.approx(ends_at, abs=1e-3)


@pytest.mark.parametrize(("ceiling", "constant"), [(0.8, 0.8), (2.0, 1.275)])
def test_proposition_4_best_realisable_constant(ceiling, constant):
    """a x + min(b, ceiling): constants up to the ceiling are realisable, the mean target is 1.275.

    For lam -> infinity the solution is constant, and the constant is the best one of these.
    """

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = nn.Parameter(torch.zeros((), dtype=torch.float64))
            self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, inputs):
            return self.slope * inputs + self.shift.clamp(max=ceiling)

    model = Line()
    pairs = PairSet(GivenPairs(torch.tensor([[[0.0], [1.0]]], dtype=torch.float64)))
    objective = Clip(model, F.mse_loss, pairs, lam=1.0)
    slopes = torch.linspace(-1, 3, 41, dtype=torch.float64)
    shifts = torch.linspace(0, 2, 81, dtype=torch.float64)
    losses, constants = torch.zeros(41, 81).double(), torch.zeros(41, 81).double()
    with torch.no_grad():
        for i, slope in enumerate(slopes):
            for j, shift in enumerate(shifts):
                model.slope.fill_(slope)
                model.shift.fill_(shift)
                found = objective(INPUTS, TARGETS)
                losses[i, j], constants[i, j] = found.loss, found.total - found.loss
    slopes_chosen = []
    for lam in (0.0, 0.1, 0.5, 100.0):
        i, j = divmod(int((losses + lam * constants).argmin()), 81)
        slopes_chosen.append(abs(slopes[i].item()))
    assert slopes_chosen == sorted(slopes_chosen, reverse=True)
    assert slopes_chosen[0] > 0.5
    assert slopes_chosen[-1] < 1e-12
    assert min(shifts[j].item(), ceiling) == pytest.approx(constant, abs=0.0251)
