"""Example 1: the loss (theta + 1)^2 on theta >= 0, where iterations stop at no critical point."""

from __future__ import annotations

import math

import pytest
import torch

from bregman import LinBreg, make_penalty
from tests.bregman.twins import PATHS


def gradient(theta: torch.Tensor) -> torch.Tensor:
    return 2 * (theta.detach() + 1)


def constrained(start: list[float], lr: float, delta: float, foreach: bool | None = None):
    """LinBreg with J the indicator of theta >= 0: the `nonnegative` penalty with lam = 0."""
    param = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = LinBreg([param], lr=lr, delta=delta, penalty="nonnegative", foreach=foreach)
    return param, optimizer


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize(("lr", "delta"), [(0.1, 1.0), (0.02, 0.5), (0.05, 4.0)])
def test_example_1_in_numbers(lr, delta, foreach):
    """theta + 1 shrinks by 1 - 2 delta tau until theta is 0; then the dual falls by 2 tau for ever."""
    start = 3.0
    param, optimizer = constrained([start], lr, delta, foreach)
    shrink = 1 - 2 * delta * lr
    arrival = math.ceil(math.log(start + 1) / -math.log(shrink))
    dual = math.nan
    for k in range(1, arrival + 40):
        param.grad = gradient(param)
        optimizer.step()
        previous, dual = dual, optimizer.state[param]["dual"].item()
        if k < arrival:
            assert param.item() == pytest.approx(shrink**k * (start + 1) - 1, abs=1e-12)
            assert param.item() > 0
        else:
            assert param.item() == 0.0
        if k == arrival:
            assert dual == pytest.approx((shrink**k * (start + 1) - 1) / delta, abs=1e-12)
        if k > arrival:  # the subgradients of J at the limit are unbounded
            assert dual == pytest.approx(previous - 2 * lr, abs=1e-12)
    assert gradient(param).item() == 2.0  # not a critical point


@pytest.mark.parametrize("lr", [0.01, 0.3, 0.9, 5.0])
def test_example_1_converges_from_any_start(lr):
    """Also from infeasible starts, and above the step bound 2 / (delta L) = 1, in a known time.

    On theta >= 0 the gradient is at least 2, so the dual falls by 2 tau or more in every step:
    whatever tau is, theta = 0 after at most v / (2 tau) more steps. Below 0, where a start is not
    covered by the example, the gradient can be of either sign, but for one step only.
    """
    start = [-3.0, -1.0, 0.0, 0.2, 1.0, 7.0]
    param, optimizer = constrained(start, lr, delta=1.0)
    first_dual = param.detach() - lr * gradient(param)
    latest = 1 + first_dual.clamp(min=0) / (2 * lr)
    for k in range(1, math.ceil(latest.max()) + 3):
        param.grad = gradient(param)
        optimizer.step()
        assert (param >= 0).all()
        assert not param[latest <= k].any()
    assert not param.any()


def test_example_1_with_a_feasible_minimiser_converges_to_it():
    """J(minimiser) = inf is all that Theorem 6 misses: on (theta - 1)^2 the same run reaches 1.

    It first has to undo what the other loss did to the dual: steps of 2 tau down, and as many up.
    """
    lr, steps = 0.1, 40
    param, optimizer = constrained([0.0], lr, delta=1.0)
    for _ in range(steps):
        param.grad = gradient(param)
        optimizer.step()
    assert make_penalty("nonnegative").value(torch.tensor([-1.0]), 0.0) == torch.inf
    for k in range(1, 200):
        param.grad = 2 * (param.detach() - 1)
        optimizer.step()
        entered = max(k - steps, 0)  # steps since the dual was back at 0, up to rounding
        assert param.item() == pytest.approx(1 - (1 - 2 * lr) ** entered, abs=1e-12)
    assert param.item() == pytest.approx(1.0, abs=1e-12)
