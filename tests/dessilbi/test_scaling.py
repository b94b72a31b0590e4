"""Eqs. 14-15 and the published form of them, against loops over single weights and filters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dessilbi import DessiLBI

F64 = torch.float64
LR, NU, LAM, KAPPA = 0.1, 1.0, 0.003, 1.5


def optimise(shape, scaling, steps, check, floor=0.01):
    param = nn.Parameter(torch.randn(shape, dtype=F64) * 1.5)
    optimizer = DessiLBI(
        [param], LR, nu=NU, lam=LAM, kappa=KAPPA, scaling=scaling, scaling_floor=floor
    )
    v, gamma = torch.zeros_like(param), torch.zeros_like(param)
    for _ in range(steps):
        before = param.detach().clone()
        param.grad = torch.randn_like(param)
        optimizer.step()
        v, gamma = check(before, param.detach(), v, gamma)
        torch.testing.assert_close(optimizer.state[param]["dual"], v, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(optimizer.gamma(param), gamma, rtol=1e-12, atol=1e-14)
    return gamma


def groups(x):
    """Filters of a convolution, entries of a matrix: views to be worked on one by one."""
    return list(x) if x.dim() == 4 else list(x.flatten())


@pytest.mark.parametrize("floor", [0.01, 0.6])
@pytest.mark.parametrize("shape", [(5, 2, 2, 2), (3, 4)])
def test_magnitude_scaling_is_equations_14_and_15(shape, floor):
    def check(before, after, v, gamma):
        ratio = sum(float(g.norm() > 0) for g in groups(gamma)) / len(groups(before))
        new_v, new_gamma = v.clone(), gamma.clone()
        for w, old, x, g in zip(*map(groups, (before, gamma, new_v, new_gamma)), strict=True):
            factor = min(1.0, 1.0 / float(w.norm())) * max(1.0 - ratio, floor)
            x += LR * factor * (w - old) / NU
            shrunk = x * max(0.0, 1.0 - LAM / float(x.norm()))
            g.copy_(KAPPA * float(w.norm()) * shrunk)
        return new_v, new_gamma

    assert optimise(shape, "magnitude", 8, check, floor).count_nonzero() > 0


@pytest.mark.parametrize("shape", [(5, 2, 2, 2), (3, 4)])
def test_released_scaling_caps_the_step_of_v(shape):
    def check(before, after, v, gamma):
        ratio = sum(float(g.norm() > 0) for g in groups(gamma)) / len(groups(before))
        new_v, new_gamma = v.clone(), gamma.clone()
        for w, new, old, x, g in zip(
            *map(groups, (before, after, gamma, new_v, new_gamma)), strict=True
        ):
            size = max(1.0, float(new.norm()))
            x += LR * min(1.0 - ratio, 0.01) / size * (w - old) / NU
            g.copy_(KAPPA * size * x * max(0.0, 1.0 - LAM / float(x.norm())))
        return new_v, new_gamma

    assert optimise(shape, "released", 60, check).count_nonzero() > 0
