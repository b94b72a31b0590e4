"""What the optimisers must equal exactly: torch's own, and the paper's algorithms by hand."""

from __future__ import annotations

import math

import pytest
import torch

from bregman import AdaBreg, LinBreg, ProxAdam, ProxSGD
from tests.bregman.cases import PENALTIES
from tests.bregman.twins import PATHS, assert_same_path, copies, parameters


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
