"""LinBreg, RDA, gRDA, RMDA, RAMDA and xRDA on one frame: closed forms, limits and three steps by hand."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from bregman import RAMDA, RMDA, XRDA, AdaBreg, LinBreg, ProxSGD, penalize
from bregman.optimizer import PenalisedOptimizer
from bregman.rmda import metric_group_prox

THETA = [1.0, -0.5, 0.05, 0.0]
GRADS = [[0.3, -0.1, 0.2, -0.4], [0.2, 0.1, -0.1, -0.5], [-0.1, 0.3, 0.1, -0.6]]
LR, LAM, MU = 0.5, 0.1, 0.6

#: parameters after each of the three steps
VECTORS = {
    "linbreg": [[0.85, -0.45, 0, 0.1], [0.75, -0.5, 0, 0.35], [0.8, -0.65, 0, 0.65]],
    "rda": [[0.8, -0.4, 0, 0.15], [0.65, -0.4, 0, 0.35], [0.65, -0.5, 0, 0.6]],
    "grda": [
        [0.80334835, -0.40334835, -0.00334835, 0.15334835],
        [0.67928932, -0.42928932, 0, 0.37928932],
        [0.70981387, -0.55981387, 0, 0.65981387],
    ],
    "rmda": [
        [0.8, -0.4, 0, 0.15],
        [0.70857864, -0.42928932, 0, 0.30606602],
        [0.76205546, -0.54226497, 0, 0.49990186],
    ],
    "rmda_averaged": [
        [0.98, -0.49, 0.045, 0.015],
        [0.95285786, -0.48392893, 0.0405, 0.0441066],
        [0.93377762, -0.48976254, 0.03645, 0.08968613],
    ],
    "ramda": [
        [0.43771314, 0, -0.1342009, 0.34811835],
        [0.01516137, -0.06407055, 0, 0.68099547],
        [0.05115474, -0.66334453, 0, 1.04517663],
    ],
    "xrda": [
        [0.99527072, -0.49780007, 0.03987171, 0],
        [0.99338647, -0.4972365, 0.03654875, 0],
        [0.99338647, -0.4972365, 0.03654875, 0],
    ],
}
MAKE = {
    "linbreg": lambda p, lam: LinBreg([p], LR, penalty="l1", lam=lam),
    "rda": lambda p, lam: LinBreg([p], LR, penalty="l1", lam=lam, threshold="cumulative"),
    "grda": lambda p, lam: LinBreg([p], LR, penalty="l1", lam=lam, threshold="power", mu=MU),
    "rmda": lambda p, lam: RMDA([p], LR, penalty="l1", lam=lam, averaging=1.0),
    "rmda_averaged": lambda p, lam: RMDA([p], LR, penalty="l1", lam=lam, averaging=0.1),
    "ramda": lambda p, lam: RAMDA([p], LR, penalty="l1", lam=lam, averaging=1.0),
    "xrda": lambda p, lam: XRDA([p], LR, steps=3, penalty="l1", lam=lam * 1e-2),
}
EVERY = pytest.mark.parametrize("name", MAKE)


def start(values=THETA) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def steps(optimizer: torch.optim.Optimizer, param: nn.Parameter, grads=None) -> list[torch.Tensor]:
    found = []
    for grad in GRADS if grads is None else grads:
        param.grad = torch.as_tensor(grad, dtype=param.dtype).view_as(param).clone()
        optimizer.step()
        found.append(param.detach().clone())
    return found


def random_grads(count: int, shape: tuple[int, ...] = (4,)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]


@EVERY
def test_three_steps(name):
    param = start()
    found = torch.stack(steps(MAKE[name](param, LAM), param))
    expected = torch.tensor(VECTORS[name], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=6e-9)


def test_linbreg_whose_penalty_comes_late_differs_only_where_the_start_was_not_zero():
    late, usual = start(), start()
    optimizer = LinBreg([late], LR, penalty="l1", lam=0.0)
    late.grad = torch.zeros_like(late)
    optimizer.step()  # makes the dual theta_0, without lam sign(theta_0)
    optimizer.param_groups[0]["lam"] = LAM
    first = steps(optimizer, late)
    expected = [[0.75, -0.35, 0, 0.1], [0.65, -0.4, 0, 0.35], [0.7, -0.55, 0, 0.65]]
    torch.testing.assert_close(torch.stack(first), torch.tensor(expected, dtype=torch.float64))
    second = steps(LinBreg([usual], LR, penalty="l1", lam=LAM), usual)
    assert first[0][3] == second[0][3]
    assert (first[0] != second[0])[:2].all()


@pytest.mark.parametrize("threshold", ["cumulative", "power"])
@pytest.mark.parametrize("foreach", [False, None])
def test_without_a_penalty_the_base_optimiser_is_left(threshold, foreach):
    for make, base in (
        (
            lambda p: LinBreg([p], LR, penalty="l1", threshold=threshold, foreach=foreach),
            lambda p: torch.optim.SGD([p], LR, foreach=False),
        ),
        (
            lambda p: AdaBreg([p], LR, penalty="l1", threshold=threshold, foreach=foreach),
            lambda p: AdaBreg([p], LR, foreach=foreach),  # equals Adam: test_bregman_torch
        ),
    ):
        ours, theirs = start(), start()
        grads = random_grads(5)
        assert all(
            map(torch.equal, steps(make(ours), ours, grads), steps(base(theirs), theirs, grads))
        )


@pytest.mark.parametrize("cls", [LinBreg, AdaBreg])
def test_cumulative_equals_a_threshold_written_in_by_hand(cls):
    ours, by_hand = start(), start()
    first = cls([ours], LR, penalty="l1", lam=LAM, threshold="cumulative")
    second = cls([by_hand], LR, penalty="l1", lam=0.0)
    second._init_state(
        by_hand, second.param_groups[0], second.state[by_hand]
    )  # before lam is there
    for number, grad in enumerate(random_grads(6), 1):
        second.param_groups[0]["lam"] = LAM * sum([LR] * number)
        assert torch.equal(steps(first, ours, [grad])[0], steps(second, by_hand, [grad])[0])


@pytest.mark.parametrize("threshold", ["cumulative", "power"])
def test_equal_final_thresholds_give_equal_supports(threshold):
    """From a start without weights the last threshold alone decides."""
    grads = random_grads(9, (40,))
    moving, fixed = start([0.0] * 40), start([0.0] * 40)
    first = LinBreg([moving], LR, penalty="l1", lam=0.3, threshold=threshold)
    steps(first, moving, grads)
    last = 0.3 * first.param_groups[0]["elapsed"]
    steps(LinBreg([fixed], LR, penalty="l1", lam=last), fixed, grads)
    assert torch.equal(moving != 0, fixed != 0)
    assert 0 < int((moving != 0).sum()) < 40
    torch.testing.assert_close(moving, fixed)


def test_power_follows_a_learning_rate_that_changes():
    param = start()
    optimizer = MAKE["grda"](param, LAM)
    for grad, rate in zip(random_grads(3), (0.5, 0.5, 0.1), strict=True):
        optimizer.param_groups[0]["lr"] = rate
        steps(optimizer, param, [grad])
    expected = 0.5**1.1 * 2**MU + 0.1**1.1 * (3**MU - 2**MU)
    assert optimizer.param_groups[0]["elapsed"] == pytest.approx(expected)


@EVERY
def test_resume_is_exact(name, tmp_path):
    grads = random_grads(8)
    whole, part = start(), start()
    expected = steps(MAKE[name](whole, LAM), whole, grads)[-1]
    optimizer = MAKE[name](part, LAM)
    steps(optimizer, part, grads[:3])
    torch.save((optimizer.state_dict(), part.data), tmp_path / "state.pt")
    state, values = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = nn.Parameter(values)
    optimizer = MAKE[name](resumed, LAM)
    optimizer.load_state_dict(state)
    assert torch.equal(steps(optimizer, resumed, grads[3:])[-1], expected)


def test_a_state_of_an_older_version_has_the_constant_threshold():
    param = start()
    optimizer = MAKE["linbreg"](param, LAM)
    steps(optimizer, param)
    state = optimizer.state_dict()
    for name in ("threshold", "mu", "elapsed", "elapsed_steps"):
        del state["param_groups"][0][name]
    other = MAKE["rda"](param, LAM)
    other.load_state_dict(state)
    assert other.param_groups[0]["threshold"] == "constant"


@EVERY
def test_groups_count_their_own_steps(name):
    """A group is stepped once per step, however many there are: each equals an optimiser of its own."""
    alone, first, second = start(), start(), start()
    expected = steps(MAKE[name](alone, LAM), alone)[-1]
    single = MAKE[name](first, LAM)
    both = type(single)(
        [
            {k: v for k, v in copy.copy(single.param_groups[0]).items() if "elapsed" not in k}
            | {"params": [param]}
            for param in (first, second)
        ],
        LR,
    )
    for grad in GRADS:
        for param in (first, second):
            param.grad = torch.tensor(grad, dtype=torch.float64)
        both.step()
    assert torch.equal(first, expected)
    assert torch.equal(second, expected)


@pytest.mark.parametrize("cls", [RMDA, RAMDA])
def test_restart_is_a_fresh_start(cls):
    options = {"penalty": "l1", "lam": LAM, "averaging": 0.2}
    old = start()
    optimizer = cls([old], LR, **options)
    steps(optimizer, old, random_grads(4))
    new = nn.Parameter(old.detach().clone())
    fresh = cls([new], 0.1 * LR, **options | {"averaging": 1.0})
    optimizer.param_groups[0]["lr"] = 0.1 * LR
    optimizer.restart(averaging=1.0)
    assert all(
        map(
            torch.equal,
            steps(optimizer, old, random_grads(3)),
            steps(fresh, new, random_grads(3)),
        )
    )


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (RMDA, {"averaging": 2.0}),
        (RAMDA, {"averaging": 2.0}),
        (RAMDA, {"eps": -1.0}),
        (RAMDA, {"eps": 1e-3, "averaging": 0.0}),
    ],
)
def test_a_refused_restart_changes_nothing(cls, values):
    param = start()
    optimizer = cls([param], LR, penalty="l1", lam=LAM, averaging=0.2)
    steps(optimizer, param, random_grads(2))
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match="Invalid"):
        optimizer.restart(**values)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert all(torch.equal(after["state"][0][k], v) for k, v in before["state"][0].items())


@pytest.mark.parametrize("cls", [RMDA, RAMDA])
def test_exact_zeros_are_in_the_proximal_points_and_not_in_the_averages(cls):
    averaged, reported = start(), start()
    optimizer = cls([averaged], LR, penalty="l1", lam=2.0, averaging=0.1)
    steps(optimizer, averaged)
    steps(cls([reported], LR, penalty="l1", lam=2.0, averaging=1.0), reported)
    assert (averaged != 0).sum() > (reported != 0).sum()
    assert torch.equal(optimizer.proximal_points()[averaged], reported)


def test_averaging_rises_with_its_power_and_ends_at_one():
    param = start()
    optimizer = RMDA([param], LR, penalty="l1", lam=LAM, averaging=0.5, averaging_power=0.5)
    for grad in random_grads(3):
        steps(optimizer, param, [grad])
    assert not torch.equal(param, optimizer.proximal_points()[param])
    steps(optimizer, param, random_grads(1))  # 0.5 sqrt(4) = 1
    assert torch.equal(param, optimizer.proximal_points()[param])


@pytest.mark.parametrize("weight", ["sqrt", "none"])
def test_groups_of_ramda_solve_their_subproblem(weight):
    """Against the root of a scalar equation: x_g = (D + t/r)^-1 D c with r = |x_g|."""
    generator = torch.Generator().manual_seed(3)
    center, metric = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    metric = metric.abs() + 0.1
    threshold = 0.9 * (math.sqrt(5) if weight == "sqrt" else 1)
    found = metric_group_prox(center, metric, threshold, (1,))
    zeros = 0
    for x, c, d in zip(found, center, metric, strict=True):
        if (d * c).norm() <= threshold:
            assert not x.any()
            zeros += 1
            continue
        low, high = 1e-12, float(c.norm()) + 1e-9
        for _ in range(200):
            r = (low + high) / 2
            low, high = (r, high) if (d * c / (d + threshold / r)).norm() > r else (low, r)
        torch.testing.assert_close(x, d * c / (d + threshold / low), rtol=1e-5, atol=1e-7)
    assert zeros < len(found)


def test_ramda_with_groups_steps_to_the_solution_of_its_subproblem():
    grads = random_grads(2, (6, 5))
    param = nn.Parameter(torch.ones(6, 5, dtype=torch.float64))
    optimizer = RAMDA([param], LR, penalty="l12", group="row", lam=0.3, averaging=1.0)
    steps(optimizer, param, grads)
    state = optimizer.state[param]
    metric = state["curvature"].pow(1 / 3) + 1e-6
    level = 0.3 * math.sqrt(5) * LR * (1 + math.sqrt(2))
    stationary = state["dual"] + metric * (param - 1)
    for row, rest in zip(param.detach(), stationary.detach(), strict=True):
        if row.any():
            torch.testing.assert_close(rest, -level * row / row.norm(), rtol=1e-4, atol=1e-6)
        else:
            assert rest.norm() <= level
    assert param.any()


@pytest.mark.parametrize(
    ("averaging", "make"),
    [(1.0, MAKE["rda"]), (0.0, lambda p, lam: ProxSGD([p], LR, penalty="l1", lam=lam))],
    ids=["dual-averaging", "proximal-sgd"],
)
def test_limits_of_xrda(averaging, make):
    options = {"penalty": "l1", "lam": LAM, "boost": 1.0, "time_scale": 1e-6}
    ours, other = start(), start()
    first = steps(XRDA([ours], LR, averaging=averaging, **options), ours, random_grads(6))
    second = steps(make(other, LAM), other, random_grads(6))
    torch.testing.assert_close(torch.stack(first), torch.stack(second))


def test_xrda_of_a_tensor_of_zeros_is_no_number_less():
    param = start([0.0] * 4)
    found = steps(XRDA([param], LR, steps=5, penalty="l1", lam=1e-4), param)
    assert all(bool(x.isfinite().all()) for x in found)
    assert found[-1].any()


def test_xrda_leaves_the_gradient_alone_and_stands_still_after_its_steps():
    param = start()
    optimizer = XRDA([param], LR, steps=3, penalty="l1", lam=1e-3, weight_decay=0.1)
    steps(optimizer, param)
    assert param.grad is not None
    assert param.grad.tolist() == GRADS[-1]
    before = param.detach().clone()
    steps(optimizer, param)
    assert torch.equal(param, before)


def test_xrda_with_groups_thresholds_single_entries():
    param = nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
    optimizer = XRDA([param], 0.5, steps=9, penalty="l12", group="row", lam=0.2, boost=2.0)
    grad = torch.tensor([[0.0, 3.0, 9.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    steps(optimizer, param, [grad] * 8)
    zeros = param == 0
    assert zeros.any()
    assert not zeros.all(dim=1).any()
    # omega is the same for all entries of a group, and sqrt(3) times that of single entries
    threshold = optimizer.state[param]["threshold"]
    assert torch.equal(threshold, threshold[:, :1].expand_as(threshold))
    single = nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
    other = XRDA([single], 0.5, steps=9, penalty="l1", lam=0.05, boost=2.0)
    first = torch.zeros(2, 3)
    steps(other, single, [first])
    again = nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
    grouped = XRDA([again], 0.5, steps=9, penalty="l12", group="row", lam=0.05, boost=2.0)
    steps(grouped, again, [first])
    torch.testing.assert_close(
        grouped.state[again]["threshold"], math.sqrt(3) * other.state[single]["threshold"]
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: LinBreg([p], 0.1, threshold="growing"), "Invalid threshold: 'growing'"),
        (lambda p: LinBreg([p], 0.1, mu=1.0), "Invalid mu: 1.0"),
        (lambda p: AdaBreg([p], dual_leak=-1.0), "Invalid dual_leak"),
        (lambda p: AdaBreg([p], birth_lr=-1.0), "Invalid birth_lr"),
        (lambda p: RMDA([p], averaging=0.0), "Invalid averaging"),
        (lambda p: RMDA([p], averaging=1.5), "Invalid averaging"),
        (lambda p: RAMDA([p], penalty="nuclear"), "Invalid penalty: 'nuclear'"),
        (lambda p: XRDA([p], steps=0), "Invalid steps"),
        (lambda p: XRDA([p], boost=0.5), "boost"),
        (lambda p: XRDA([p], penalty="nuclear"), "Invalid penalty"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(nn.Parameter(torch.zeros(2, 2)))


def test_states_are_not_taken_for_each_other():
    made = {name: MAKE[name](start(), LAM) for name in ("linbreg", "rmda", "ramda", "xrda")}
    for name, optimizer in made.items():
        for other in made.keys() - {name}:
            with pytest.raises(ValueError, match="Invalid state dict"):
                optimizer.load_state_dict(made[other].state_dict())


@pytest.mark.parametrize("cls", [RMDA, RAMDA, XRDA])
def test_they_train_a_network(cls):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 1))
    inputs = torch.randn(64, 5)
    targets = inputs[:, :1] - inputs[:, 1:2]
    options: dict[str, Any] = {"steps": 200} if cls is XRDA else {}
    groups = penalize(model, lam=1e-5 if cls is XRDA else 1e-3)
    optimizer: PenalisedOptimizer = cls(groups, 0.05, **options)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = (model(inputs) - targets).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# ---- births of AdaBreg ------------------------------------------------------------------------------


def constant_drift(grad: float, **options) -> tuple[float, float]:
    """Dual and parameter of a zero weight after 4,000 steps under a constant gradient."""
    param = start([0.0])
    optimizer = AdaBreg([param], 1e-2, penalty="l1", lam=0.5, **options)
    steps(optimizer, param, [[grad]] * 4000)
    return float(optimizer.state[param]["dual"]), float(param.detach())


def test_adabreg_bears_weights_under_any_gradient_and_eps_decides_how_small_it_may_be():
    assert constant_drift(1e-6)[1] != 0
    dual, value = constant_drift(1e-6, eps=1e-4)  # Adam's step is 1e-6 / (1e-6 + 1e-4)
    assert value == 0
    assert dual == pytest.approx(-40 * 1e-6 / 1.01e-4, rel=1e-3)


def test_a_leak_stops_the_dual_where_drift_and_leak_balance():
    dual, value = constant_drift(1e-6, dual_leak=4.0)
    assert value == 0
    assert dual == pytest.approx(-1 / 4.0 * 1e-6 / 1.01e-6, rel=1e-3)  # eps = 1e-8
    assert constant_drift(1e-6, dual_leak=1.0)[1] != 0  # 1 / 1 is beyond lam


def test_births_by_raw_gradients_are_those_of_linbreg_and_living_weights_those_of_adam():
    param, plain = start([0.0, 1.0]), start([0.0, 1.0])
    optimizer = AdaBreg([param], 1e-2, penalty="l1", lam=0.5, birth_lr=0.1)
    grads = [[1e-3, 0.3]] * 50
    steps(optimizer, param, grads)
    reference = AdaBreg([plain], 1e-2, penalty="l1", lam=0.5)
    steps(reference, plain, grads)
    assert float(optimizer.state[param]["dual"][0]) == pytest.approx(-50 * 0.1 * 1e-3)
    assert param[1] == plain[1]


def test_births_leave_parameters_without_a_penalty_alone():
    ours, other = start([0.0] * 4), start([0.0] * 4)
    first = AdaBreg([ours], 1e-2, birth_lr=0.1, dual_leak=1.0)
    assert all(map(torch.equal, steps(first, ours), steps(AdaBreg([other], 1e-2), other)))
