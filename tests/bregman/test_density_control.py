"""Densities on demand: the exact quantile, the published gap rule, ramps and healing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from bregman import (
    AdaBreg,
    DensityTarget,
    GapControl,
    Healing,
    LinBreg,
    QuantileControl,
    Ramp,
    Rule,
    penalize,
)
from bregman.density_control import quantile
from bregman.groups import group_size

VALUES = torch.tensor([0.9, -0.8, 0.7, 0.7, -0.5, 0.3, 0.2, 0, 0, 0.1], dtype=torch.float64)


@pytest.mark.parametrize(
    ("density", "budget", "lam", "kept"),
    [
        *((0.1, 1, 0.8, 1), (0.2, 2, 0.7, 2), (0.3, 3, 0.7, 2), (0.4, 4, 0.5, 4)),
        *((0.5, 5, 0.3, 5), (0.7, 7, 0.1, 7), (0.9, 9, 0, 8), (1.0, 10, 0, 8)),
    ],
)
def test_quantile(density, budget, lam, kept):
    assert quantile(VALUES.abs(), None, density) == (lam, budget)
    assert int((VALUES.abs() > lam).sum()) == kept


def test_quantile_of_groups_counts_weights():
    scores = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])
    sizes = torch.tensor([2, 6, 1, 1, 10])
    for density, groups in (
        (0.1, 1),
        (0.37, 1),
        (0.4, 2),
        (0.45, 3),
        (0.5, 4),
        (0.95, 4),
        (1.0, 5),
    ):
        lam, budget = quantile(scores, sizes, density)
        assert int((scores > lam).sum()) == groups
        assert budget == max(1, round(20 * density))


@pytest.mark.parametrize(
    ("step", "density"), [(100, 1), (350, 0.450781), (600, 0.16875), (850, 0.064844), (1100, 0.05)]
)
def test_cubic_ramp(step, density):
    ramp = Ramp("cubic", 0.05, begin=100, end=1100)
    assert ramp.density(step) == pytest.approx(density, abs=6e-7)
    assert ramp.density(0) == 1
    assert ramp.density(5000) == 0.05


def test_geometric_ramp_has_equal_factors():
    ramp = Ramp("geometric", 0.16, start=0.01, begin=10, end=14)
    found = [ramp.density(step) for step in (10, 11, 12, 13, 14)]
    assert found == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.16])


def test_gap_rule():
    rule = GapControl(
        LinBreg([nn.Parameter(torch.ones(2))], 0.1, penalty="l1"), Ramp("constant", 0.1)
    )
    lam, found = 0.01, []
    for sparsity in (0.99, 0.95, 0.88, 0.86, 0.92, 0.91, 0.89, 0.9):
        lam *= rule.factor(0.9 - sparsity)
        found.append(round(lam, 8))
    expected = "917431 873744 891219 926868 909586 901026 909158 909158"
    assert found == [float(f"0.00{digits}") for digits in expected.split()]


def network() -> Any:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 7))


def train(model, optimizer, steps, *controls, first=0):
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step)
        inputs = torch.randn(8, 1, 6, 6, generator=generator)
        targets = torch.randint(7, (8,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        for control in controls:
            control.after_step()


def count(model) -> int:
    return sum(int(model[index].weight.count_nonzero()) for index in (0, 3))


SIZE = 54 + 672


@pytest.mark.parametrize("threshold", ["constant", "cumulative", "power"])
@pytest.mark.parametrize("cls", [LinBreg, AdaBreg])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_the_count_is_exact_after_every_change(cls, threshold, scale):
    model = network()
    rules = [
        Rule("l1", nn.Conv2d, "*weight", scale=scale),
        Rule("l1", nn.Linear, "*weight"),
    ]
    optimizer = cls(penalize(model, rules, lam=0.1), 0.05, threshold=threshold)
    ramp = Ramp("cubic", 0.05, begin=10, end=60)
    control = QuantileControl(optimizer, ramp, interval=5)
    for step in range(5, 101, 5):
        train(model, optimizer, 5, control, first=step)
        assert count(model) == max(1, round(ramp.density(step) * SIZE))
    assert control.note() is None


@pytest.mark.parametrize("weight", ["sqrt", "none"])
def test_groups_stay_within_the_budget_of_weights(weight):
    model = network()
    rules = [
        Rule("l12", nn.Conv2d, "*weight", group="kernel", group_weight=weight),
        Rule("l12", nn.Linear, "*weight", group="column", group_weight=weight),
    ]
    optimizer = LinBreg(penalize(model, rules, lam=0.1), 0.05)
    control = QuantileControl(optimizer, Ramp("constant", 0.3), interval=3)
    train(model, optimizer, 9, control)
    budget = round(0.3 * SIZE)
    assert budget - group_size((0, 1), (3, 3)) < count(model) <= budget


def test_how_weights_are_divided_into_parameters_and_groups_does_not_matter():
    values, grads = torch.randn(24), torch.randn(24)
    found = []
    for sizes in ([24], [10, 14], [1, 20, 3]):
        params = [nn.Parameter(part.clone()) for part in values.split(sizes)]
        groups = [{"params": [p], "penalty": "l1", "lam": 0.1, "lam_scale": 1.0} for p in params]
        optimizer = LinBreg(groups, 0.1)
        for param, grad in zip(params, grads.split(sizes), strict=True):
            param.grad = grad.clone()
        optimizer.step()
        QuantileControl(optimizer, Ramp("constant", 0.25)).apply()
        lams = {group["lam"] for group in optimizer.param_groups}
        found.append((lams, torch.cat([p.detach() for p in params]).tolist()))
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) == 1


def test_all_weights_allowed_is_sgd():
    ours, theirs = network(), network()
    optimizer = LinBreg(penalize(ours, lam=0.0), 0.05, foreach=False)
    control = QuantileControl(optimizer, Ramp("constant", 1.0), interval=1)
    train(ours, optimizer, 20, control)
    train(theirs, torch.optim.SGD(theirs.parameters(), 0.05), 20)
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))


def test_a_change_of_lam_can_keep_the_values_of_what_stays():
    for penalty, group in (("l1", None), ("l12", "row")):
        model = nn.Linear(30, 20)
        rules = [Rule(penalty, nn.Linear, "*weight", group=group)]
        optimizer = LinBreg(penalize(model, rules, lam=0.01), 0.0)
        model.weight.grad = torch.zeros_like(model.weight)
        optimizer.step()
        before = model.weight.detach().clone()
        QuantileControl(optimizer, Ramp("constant", 0.4), keep_values=True).apply()
        kept = model.weight != 0
        assert int(kept.sum()) == 240
        torch.testing.assert_close(model.weight[kept], before[kept])
        optimizer.step()  # the dual agrees with the parameter
        torch.testing.assert_close(model.weight[kept], before[kept])


def test_a_sparse_start_without_a_ramp_jumps_and_with_one_grows():
    """The trap: duals of exactly 0 tie, so lam would be 0 until there are enough others."""
    seen = {}
    for name, ramp in (
        ("jump", Ramp("constant", 0.2)),
        ("ramp", Ramp("geometric", 0.2, start=0.01, end=50)),
    ):
        model = network()
        with torch.no_grad():
            for index in (0, 3):
                model[index].weight.mul_(torch.rand_like(model[index].weight) < 0.01)
        optimizer = LinBreg(penalize(model, lam=0.1), 0.05)
        control = QuantileControl(optimizer, ramp, interval=5)
        counts = []
        for step in range(12):
            train(model, optimizer, 5, control, first=5 * step)
            counts.append(count(model))
        seen[name] = counts
    assert seen["jump"][0] > 120
    assert seen["ramp"][0] < 15
    assert seen["ramp"] == sorted(seen["ramp"])
    assert seen["ramp"][-1] == 145


@pytest.mark.parametrize("kind", [QuantileControl, GapControl])
def test_resume_is_exact(kind):
    def make(model):
        optimizer = LinBreg(penalize(model, lam=0.1), 0.05, momentum=0.9)
        return optimizer, kind(optimizer, Ramp("cubic", 0.1, end=30), interval=4)

    whole, part = network(), network()
    optimizer, control = make(whole)
    train(whole, optimizer, 40, control)
    first, second = make(part)
    train(part, first, 18, second)
    resumed = network()
    resumed.load_state_dict(part.state_dict())
    third, fourth = make(resumed)
    third.load_state_dict(first.state_dict())
    fourth.load_state_dict(second.state_dict())
    train(resumed, third, 22, fourth, first=18)
    assert all(map(torch.equal, resumed.parameters(), whole.parameters()))
    assert third.param_groups[0]["lam"] == optimizer.param_groups[0]["lam"]


def test_a_quantile_needs_duals_and_a_penalty_that_it_belongs_to():
    model = network()
    with pytest.raises(ValueError, match="needs duals, and SGD has none"):
        QuantileControl(torch.optim.SGD(model.parameters(), 0.1), Ramp("constant", 0.1))  # pyright: ignore[reportArgumentType]
    rules = [Rule("nuclear", (nn.Conv2d, nn.Linear), "*weight")]
    with pytest.raises(ValueError, match="Invalid penalty under a quantile: 'nuclear'"):
        QuantileControl(LinBreg(penalize(model, rules, lam=0.1), 0.1), Ramp("constant", 0.1))


@pytest.mark.parametrize(
    "arguments", [("linear", 0.1), ("cubic", 0.0), ("cubic", 0.1, 2.0), ("cubic", 0.1, 1.0, 5, 4)]
)
def test_impossible_ramps_are_refused(arguments):
    with pytest.raises(ValueError, match="Invalid"):
        Ramp(*arguments)


# ---- healing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("debias", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda groups: LinBreg(groups, 0.05, momentum=0.9),
        lambda groups: LinBreg(groups, 0.05, threshold="power"),
        lambda groups: AdaBreg(groups, 0.01),
    ],
    ids=["momentum", "rda", "adabreg"],
)
def test_healing_lets_no_zero_come_back(make, debias):
    model = network()
    optimizer = make(penalize(model, lam=0.15))
    healing = Healing(optimizer, 20, debias=debias)
    train(model, optimizer, 20)
    support = [model[index].weight != 0 for index in (0, 3)]
    assert 0 < sum(int(mask.sum()) for mask in support) < SIZE
    before = model[3].weight.detach().clone()
    train(model, optimizer, 30, first=20)
    for index, mask in zip((0, 3), support, strict=True):
        assert not model[index].weight[~mask].any()
        if debias:
            assert torch.equal(model[index].weight != 0, mask)
    assert healing.active
    assert not torch.equal(before, model[3].weight)


def test_debiased_healing_is_the_optimiser_without_a_penalty_on_the_support():
    """A quadratic: what the penalty has shrunk goes back to the minimiser on the support."""
    target = torch.tensor([3.0, -2.0, 0.2, 0.05], dtype=torch.float64)
    param = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    groups = [{"params": [param], "penalty": "l1", "lam": 1.0, "lam_scale": 1.0}]
    optimizer = LinBreg(groups, 0.1, threshold="cumulative")
    Healing(optimizer, 200, debias=True)
    shrunk = param.detach()
    for step in range(400):
        param.grad = (param - target).detach()
        optimizer.step()
        if step == 199:
            shrunk = param.detach().clone()
    assert shrunk.abs().sum() < target.abs().sum() - 1
    assert torch.equal(shrunk != 0, torch.tensor([True, True, False, False]))
    expected = torch.tensor([3.0, -2.0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(param.detach(), expected, atol=1e-6, rtol=0)


def test_healing_resumes():
    def make(model):
        optimizer = LinBreg(penalize(model, lam=0.15), 0.05, momentum=0.9)
        return optimizer, Healing(optimizer, 10, debias=True)

    whole, part, resumed = network(), network(), network()
    train(whole, make(whole)[0], 30)
    first, healing = make(part)
    for stop in (5, 15):  # before and after the support is frozen
        train(part, first, stop - healing._taken, first=healing._taken)
        resumed.load_state_dict(part.state_dict())
        second, again = make(resumed)
        second.load_state_dict(first.state_dict())
        again.load_state_dict(healing.state_dict())
        train(resumed, second, 30 - stop, first=stop)
        assert all(map(torch.equal, resumed.parameters(), whole.parameters()))
        assert math.isclose(second.param_groups[0]["lam"], 0.0)


@pytest.mark.parametrize(
    "control",
    [
        lambda o: DensityTarget(o, target=0.1, steps=10, interval=1),
        lambda o: QuantileControl(o, Ramp("constant", 0.1), interval=1),
        lambda o: GapControl(o, Ramp("constant", 0.1), interval=1),
    ],
    ids=["feedback", "quantile", "gap"],
)
@pytest.mark.parametrize("options", [{}, {"penalty": "l1", "lam": 0.1}], ids=["none", "scale 0"])
def test_optimisers_without_a_penalty_are_refused(control, options):
    group = {
        "params": [torch.randn(4, 3, requires_grad=True)],
        "lam_scale": 0.0 if options else 1.0,
    }
    with pytest.raises(ValueError, match="no group of this LinBreg has a penalty"):
        control(LinBreg([group], lr=0.1, **options))


def test_feedback_does_not_count_weights_that_no_lam_moves():
    dense, sparse = torch.ones(6, requires_grad=True), torch.zeros(4, requires_grad=True)
    groups = [{"params": [dense], "lam_scale": 0.0}, {"params": [sparse], "lam_scale": 1.0}]
    optimizer = LinBreg(groups, lr=0.1, penalty="l1", lam=0.1)
    assert DensityTarget(optimizer, target=0.5, steps=10, interval=1).density() == 0


@pytest.mark.parametrize("threshold", ["constant", "cumulative", "power"])
def test_a_quantile_works_before_any_step_and_without_scales(threshold):
    weight = torch.randn(10, requires_grad=True)
    group = {"params": [weight], "penalty": "l1", "lam": 0.1}
    optimizer = LinBreg([group], lr=0.0, threshold=threshold)
    control = QuantileControl(optimizer, Ramp("constant", 0.3), interval=1)
    weight.grad = torch.randn(10)
    optimizer.step()
    control.after_step()
    if threshold == "constant":
        assert control.density() == pytest.approx(0.3)
    else:
        assert optimizer.param_groups[0]["lam"] == 0.1  # a growing threshold is still 0


def test_a_quantile_of_no_weights_is_zero():
    assert quantile(torch.zeros(0), None, 0.5) == (0.0, 0)


def test_duals_that_are_no_numbers_leave_lam_alone():
    weight = torch.randn(10, requires_grad=True)
    optimizer = LinBreg([weight], lr=0.1, penalty="l1", lam=0.1)
    control = QuantileControl(optimizer, Ramp("constant", 0.3), interval=1)
    weight.grad = torch.full((10,), math.nan)
    optimizer.step()
    control.after_step()
    assert optimizer.param_groups[0]["lam"] == 0.1


def test_the_gap_rule_keeps_lam_in_single_precision():
    weight = torch.ones(4, requires_grad=True)
    optimizer = LinBreg([weight], lr=1e-3, penalty="l1", lam=1e29)
    control = GapControl(optimizer, Ramp("constant", 0.01), interval=1, gain=1e6)
    for _ in range(3):
        control.after_step()
    assert optimizer.param_groups[0]["lam"] == 1e30
    weight.grad = torch.ones(4)
    optimizer.step()
