"""What the optimisers must equal exactly: torch's own, the paper's algorithms, their symmetries."""

from __future__ import annotations

import math

import pytest
import torch
from bregman_cases import (
    DUAL_OPTIMIZERS,
    OPTIMIZERS,
    PAIRS,
    PENALTIES,
    PenaltyCase,
    build,
    sparse_start,
    subgradient_error,
)

from bregman import AdaBreg, LinBreg, ProxAdam, ProxSGD, make_penalty

PATHS = [False, None]


def parameters(*shapes: tuple[int, ...]) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in shapes]


def copies(params: list[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(param.detach().clone()) for param in params]


def same_gradients(*twins: list[torch.nn.Parameter]) -> None:
    for params in zip(*twins, strict=True):
        grad = torch.randn_like(params[0])
        for param in params:
            param.grad = grad.clone()


def assert_same_path(ours, theirs, our_params, their_params, steps=12):
    for _ in range(steps):
        same_gradients(our_params, their_params)
        ours.step()
        theirs.step()
        torch.testing.assert_close(our_params, their_params, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("maximize", [False, True])
def test_linbreg_without_penalty_is_sgd(foreach, maximize):
    params = parameters((3, 4), (4,))
    twins = copies(params)
    ours = LinBreg(params, lr=0.1, foreach=foreach, maximize=maximize)
    assert_same_path(ours, torch.optim.SGD(twins, lr=0.1, maximize=maximize), params, twins)


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("cls", [LinBreg, ProxSGD])
def test_momentum_without_penalty_is_sgd_with_scaled_rate(foreach, cls):
    params = parameters((3, 4), (4,))
    twins = copies(params)
    ours = cls(params, lr=0.1, momentum=0.9, foreach=foreach)
    theirs = torch.optim.SGD(twins, lr=(1 - 0.9) * 0.1, momentum=0.9, dampening=0)
    assert_same_path(ours, theirs, params, twins)


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("cls", [AdaBreg, ProxAdam])
def test_adaptive_ones_without_penalty_are_adam(foreach, maximize, cls):
    params = parameters((3, 4), (4,))
    twins = copies(params)
    options = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "maximize": maximize}
    ours = cls(params, foreach=foreach, **options)
    assert_same_path(ours, torch.optim.Adam(twins, **options), params, twins)


@pytest.mark.parametrize("foreach", PATHS)
def test_proxadam_with_decay_is_adamw(foreach):
    params = parameters((3, 4))
    twins = copies(params)
    ours = ProxAdam(params, lr=0.02, weight_decay=0.3, foreach=foreach)
    assert_same_path(ours, torch.optim.AdamW(twins, lr=0.02, weight_decay=0.3), params, twins)


def test_lam_zero_equals_penalty_none():
    for case in PENALTIES:
        if case.name not in ("l1", "l12"):
            continue
        params = parameters(case.shape)
        twins = copies(params)
        ours = LinBreg(params, lr=0.1, lam=0.0, **case.settings)
        assert_same_path(ours, torch.optim.SGD(twins, lr=0.1), params, twins, steps=4)


@pytest.mark.parametrize("foreach", PATHS)
def test_linbreg_step_by_hand(foreach):
    """Algorithm 1 with l1, lam = 1, delta = 2, lr = 0.5, from theta = (4, 0, 0)."""
    param = torch.nn.Parameter(torch.tensor([4.0, 0.0, 0.0], dtype=torch.float64))
    optimizer = LinBreg([param], lr=0.5, delta=2.0, penalty="l1", lam=1.0, foreach=foreach)
    param.grad = torch.tensor([2.0, -3.0, 1.0], dtype=torch.float64)
    optimizer.step()
    # v = (4/2 + 1, 0, 0) - 0.5 g = (2, 1.5, -0.5); theta = 2 shrink(v, 1)
    assert optimizer.state[param]["dual"].tolist() == [2.0, 1.5, -0.5]
    assert param.tolist() == [2.0, 1.0, 0.0]


@pytest.mark.parametrize("foreach", PATHS)
def test_algorithm_2_keeps_the_rate_inside_the_buffer(foreach):
    """Across a change of lr: m <- beta m + (1 - beta) tau_k g."""
    param = torch.nn.Parameter(torch.randn(5, dtype=torch.float64))
    optimizer = LinBreg([param], lr=0.1, momentum=0.8, foreach=foreach)
    v, m = param.detach().clone(), torch.zeros(5, dtype=torch.float64)
    for rate in (0.1, 0.1, 0.02, 0.02, 0.0, 0.3):
        optimizer.param_groups[0]["lr"] = rate
        param.grad = torch.randn(5, dtype=torch.float64)
        m = 0.8 * m + 0.2 * rate * param.grad
        v = v - m
        optimizer.step()
        torch.testing.assert_close(param.detach(), v, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("legacy", [False, True])
def test_adabreg_against_a_few_lines_of_numbers(foreach, legacy):
    """One coordinate in plain Python, with and without the first-moment correction of Algorithm 3."""
    lr, beta1, beta2, eps, lam, delta = 0.1, 0.9, 0.99, 1e-3, 0.2, 0.5
    start = 0.3
    param = torch.nn.Parameter(torch.tensor([start], dtype=torch.float64))
    optimizer = AdaBreg(
        [param],
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        delta=delta,
        penalty="l1",
        lam=lam,
        legacy_bias_correction=legacy,
        foreach=foreach,
    )
    v, first, second = start / delta + lam, 0.0, 0.0
    for k in range(1, 16):
        gradient = math.sin(k) + 0.4
        param.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        corrected = first if legacy else first / (1 - beta1**k)
        v -= lr * corrected / (math.sqrt(second / (1 - beta2**k)) + eps)
        theta = delta * math.copysign(max(abs(v) - lam, 0.0), v)
        assert param.item() == pytest.approx(theta, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("cls", [LinBreg, AdaBreg])
def test_weight_decay_acts_through_the_dual(foreach, cls):
    """With zero gradients v <- v - lr wd theta: active weights shrink, inactive duals stay."""
    param = torch.nn.Parameter(torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64))
    settings = {"lr": 0.1, "weight_decay": 0.5, "delta": 2.0, "penalty": "l1", "lam": 0.3}
    optimizer = cls([param], foreach=foreach, **settings)
    for _ in range(3):
        theta = param.detach().clone()
        param.grad = torch.zeros(3, dtype=torch.float64)
        optimizer.step()
        torch.testing.assert_close(param.detach(), theta * (1 - 0.1 * 0.5 * 2.0))
    assert optimizer.state[param]["dual"][1] == 0


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("case", PENALTIES, ids=str)
@pytest.mark.parametrize("optimizer_case", DUAL_OPTIMIZERS, ids=str)
def test_dual_stays_in_the_subdifferential(optimizer_case, case, foreach):
    """After every step p = v - theta / delta is a subgradient of lam J at theta."""
    lam, delta = 0.3, 0.7
    param = torch.nn.Parameter(sparse_start(case))
    optimizer = build(optimizer_case, [param], case, lam=lam, delta=delta, foreach=foreach)
    for _ in range(6):
        param.grad = torch.randn_like(param)
        optimizer.step()
        p = optimizer.state[param]["dual"] - param.detach() / delta
        assert subgradient_error(case, param.detach(), p, lam) < 1e-12


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("optimizer_case", DUAL_OPTIMIZERS, ids=str)
def test_scaling_symmetry(optimizer_case, foreach):
    """(lam, lr, delta) -> (c lam, c lr, delta / c) in all groups leaves the parameters unchanged."""
    weights = parameters((4, 3, 3, 3), (5, 4), (4,))
    twins = copies(weights)
    c = 3.7

    def scaled(params, factor):
        settings = {"lr": factor * 0.05, "delta": 0.8 / factor, "weight_decay": 0.1}
        groups = [
            {"params": params[:1], "penalty": "l12", "group": "kernel", "lam": factor * 0.2},
            {"params": params[1:2], "penalty": "l1", "lam": factor * 0.2},
            {"params": params[2:]},
        ]
        options = {**optimizer_case.settings, **settings}
        return optimizer_case.cls(groups, foreach=foreach, **options)

    assert_same_path(scaled(weights, 1.0), scaled(twins, c), weights, twins)


@pytest.mark.parametrize("foreach", PATHS)
def test_scaling_symmetry_breaks_when_one_group_keeps_its_delta(foreach):
    weights = parameters((5, 4), (4,))
    twins = copies(weights)
    ours = LinBreg(weights, lr=0.1, foreach=foreach)
    theirs = LinBreg(
        [{"params": twins[:1], "delta": 0.5}, {"params": twins[1:]}], lr=0.2, foreach=foreach
    )
    same_gradients(weights, twins)
    ours.step()
    theirs.step()
    torch.testing.assert_close(weights[0], twins[0])
    assert not torch.allclose(weights[1], twins[1])


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize(("optimizer_case", "case"), PAIRS, ids=str)
def test_zero_gradient_and_zero_rate_move_nothing(optimizer_case, case, foreach):
    param = torch.nn.Parameter(sparse_start(case))
    start = param.detach().clone()
    optimizer = build(optimizer_case, [param], case, lr=0.0, lam=0.3, foreach=foreach)
    for _ in range(3):
        param.grad = torch.zeros_like(param)
        optimizer.step()
    torch.testing.assert_close(param.detach(), start, rtol=0, atol=1e-13)
    if case.name != "nuclear":
        assert torch.equal(param != 0, start != 0)


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("optimizer_case", DUAL_OPTIMIZERS, ids=str)
def test_zero_gradient_moves_nothing_at_any_rate(optimizer_case, foreach):
    case = PenaltyCase("l12", (4, 3, 3, 3), "kernel")
    param = torch.nn.Parameter(sparse_start(case))
    start = param.detach().clone()
    optimizer = build(optimizer_case, [param], case, lam=0.3, foreach=foreach)
    for _ in range(5):
        param.grad = torch.zeros_like(param)
        optimizer.step()
    torch.testing.assert_close(param.detach(), start, rtol=0, atol=1e-13)


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("optimizer_case", OPTIMIZERS[:-1], ids=str)
def test_one_by_one_kernels_train_as_l1(optimizer_case, foreach):
    params = parameters((6, 5, 1, 1))
    twins = copies(params)
    options = {"lam": 0.2, "foreach": foreach, **optimizer_case.settings}
    ours = optimizer_case.cls(params, penalty="l12", group="kernel", **options)
    assert_same_path(ours, optimizer_case.cls(twins, penalty="l1", **options), params, twins)
    assert torch.equal(params[0] != 0, twins[0] != 0)


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("optimizer_case", OPTIMIZERS, ids=str)
def test_changed_lam_takes_effect_at_the_next_step(optimizer_case, foreach):
    param = torch.nn.Parameter(torch.linspace(-1, 1, 11, dtype=torch.float64))
    optimizer = build(optimizer_case, [param], penalty="l1", lam=0.1, foreach=foreach)
    param.grad = torch.zeros_like(param)
    optimizer.step()
    optimizer.param_groups[0]["lam"] = 100.0
    param.grad = torch.zeros_like(param)
    optimizer.step()
    assert not param.any()


def test_reset_dual_follows_a_change_by_hand():
    param = torch.nn.Parameter(torch.randn(6, dtype=torch.float64))
    optimizer = LinBreg([param], lr=0.1, penalty="l1", lam=0.2, delta=0.5)
    param.grad = torch.randn_like(param)
    optimizer.step()
    with torch.no_grad():
        param[:3] = 0
    changed = param.detach().clone()
    optimizer.reset_dual()
    param.grad = torch.zeros_like(param)
    optimizer.step()
    torch.testing.assert_close(param.detach(), changed, rtol=0, atol=1e-14)
    expected = changed / 0.5 + make_penalty("l1").subgradient(changed, 0.2)
    torch.testing.assert_close(optimizer.state[param]["dual"], expected)


def test_infeasible_start_is_projected():
    param = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    optimizer = LinBreg([param], lr=0.1, penalty="nonnegative")
    param.grad = torch.zeros(2)
    optimizer.step()
    assert param.tolist() == [1.0, 0.0]
