"""What holds at every step: the dual is a subgradient, symmetries, and nothing moves by itself."""

from __future__ import annotations

import pytest
import torch

from bregman import LinBreg, make_penalty
from tests.bregman.cases import (
    DUAL_OPTIMIZERS,
    OPTIMIZERS,
    PAIRS,
    PENALTIES,
    PenaltyCase,
    build,
    sparse_start,
    subgradient_error,
)
from tests.bregman.twins import PATHS, assert_same_path, copies, parameters, same_gradients


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
