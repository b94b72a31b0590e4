"""What the mathematics says about the iteration: closed forms, invariants, limits, descent."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.linalg import vector_norm

from dessilbi import DessiLBI, check_step, threshold_on_schedule
from dessilbi.step_size import augmented_lipschitz, largest_step
from tests.dessilbi.cases import quadratic_step

F64 = torch.float64


def quadratic(size: int, smallest: float = 0.2, largest: float = 1.0) -> torch.Tensor:
    """A Hessian with eigenvalues from `smallest` to `largest`."""
    basis = torch.linalg.qr(torch.randn(size, size, dtype=F64)).Q
    return basis @ torch.diag(torch.linspace(smallest, largest, size, dtype=F64)) @ basis.T


def subgradient(optimizer: DessiLBI, param: torch.Tensor, kappa: float) -> torch.Tensor:
    return optimizer.state[param]["dual"] - optimizer.gamma(param) / kappa


@pytest.mark.parametrize("foreach", [False, None])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.1}, {"kappa": 3.0}])
def test_v_sums_the_weights_while_gamma_is_zero(options, foreach):
    """V = (1 / nu) sum_k lr_k W_k with the W from before each step."""
    param = nn.Parameter(torch.randn(3, 2, 3, 3, dtype=F64))
    optimizer = DessiLBI([param], lr=0.1, nu=7.0, lam=100.0, foreach=foreach, **options)
    total = torch.zeros_like(param)
    for lr in (0.1, 0.05, 0.2, 0.01):
        optimizer.param_groups[0]["lr"] = lr
        total += lr / 7.0 * param.detach()
        param.grad = torch.randn_like(param)
        optimizer.step()
        torch.testing.assert_close(optimizer.state[param]["dual"], total, rtol=1e-13, atol=1e-15)
    assert optimizer.gamma(param).count_nonzero() == 0


@pytest.mark.parametrize("kappa", [1.0, 4.0])
@pytest.mark.parametrize("group", [None, "filter"])
def test_v_minus_gamma_is_a_subgradient_at_every_step(group, kappa):
    lam, shape = 0.8, (5, 2, 2, 2)
    param = nn.Parameter(torch.randn(shape, dtype=F64))
    optimizer = DessiLBI(
        [param], 0.1, kappa=kappa, nu=2.0, lam=lam, penalty="l12" if group else "l1", group=group
    )
    hessian, target = quadratic(param.numel()), torch.randn(shape, dtype=F64)
    dims = (1, 2, 3) if group else ()
    seen = set()
    for _ in range(60):
        quadratic_step(optimizer, param, hessian, target)
        p, gamma = subgradient(optimizer, param, kappa), optimizer.gamma(param)
        norms = vector_norm(gamma, dim=dims, keepdim=True) if dims else gamma.abs()
        sizes = vector_norm(p, dim=dims, keepdim=True) if dims else p.abs()
        assert sizes.max() <= lam * (1 + 1e-12)
        active = (norms > 0).expand_as(p)
        expected = (lam * gamma / norms)[active]
        torch.testing.assert_close(p[active], expected, rtol=1e-9, atol=1e-12)
        seen.add(int((norms > 0).sum()))
    assert len(seen) > 2  # groups entered one after the other


@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"kappa": 5.0, "lr": 0.05}])
def test_the_limit_on_a_quadratic_has_w_equal_to_gamma(options):
    """And then no gradient of the plain loss is left."""
    param = nn.Parameter(torch.zeros(4, 3, dtype=F64))
    optimizer = DessiLBI([param], **{"lr": 0.3, "nu": 1.0, "lam": 0.2, **options})
    hessian, target = quadratic(12), torch.randn(4, 3, dtype=F64)
    for _ in range(4000):
        quadratic_step(optimizer, param, hessian, target)
    torch.testing.assert_close(param.detach(), optimizer.gamma(param), rtol=0, atol=1e-9)
    torch.testing.assert_close(param.detach(), target, rtol=0, atol=1e-8)


def test_hitting_times_on_a_separable_quadratic():
    """Before its entry each weight follows W_k = W* + (W_0 - W*) r^k, and V is its geometric sum."""
    lr, nu, kappa, lam = 0.05, 2.0, 1.5, 0.7
    curvature = torch.tensor([1.0, 1.0, 1.0, 0.5, 2.0, 0.1], dtype=F64)
    target = torch.tensor([3.0, -1.0, 0.3, 2.0, -0.5, 0.0], dtype=F64)
    start = torch.tensor([0.0, 0.5, -0.4, 0.1, 0.0, 0.2], dtype=F64)
    param = nn.Parameter(start.clone())
    optimizer = DessiLBI([param], lr, nu=nu, kappa=kappa, lam=lam, penalty="l1")
    limit = curvature * target / (curvature + 1 / nu)
    ratio = 1 - kappa * lr * (curvature + 1 / nu)

    def v(steps: int) -> torch.Tensor:
        tail = (start - limit) * (1 - ratio**steps) / (1 - ratio)
        return lr / nu * (steps * limit + tail)

    expected = [next((k for k in range(1, 400) if v(k)[i].abs() > lam), math.inf) for i in range(6)]
    hits = [math.inf] * 6
    for step in range(1, 400):
        quadratic_step(optimizer, param, torch.diag(curvature), target)
        for i in optimizer.gamma(param).nonzero().flatten().tolist():
            hits[i] = min(hits[i], step)
    assert hits == expected
    assert hits[0] < hits[1] < hits[2] < hits[5] == math.inf  # by size of the target


def lyapunov(alpha, lam, nu, hessian, target, param, gamma, p):
    """F of Lemma B.4; Omega* vanishes at a subgradient."""
    error = (param - target).flatten()
    loss = error @ hessian @ error / 2 + (param - gamma).square().sum() / (2 * nu)
    return float(alpha * loss + lam * gamma.abs().sum() - (p * gamma).sum())


@pytest.mark.parametrize(("nu", "kappa", "lip"), [(1.0, 1.0, 1.0), (10.0, 2.0, 1.0), (0.3, 1, 2)])
def test_lyapunov_function_falls_below_the_bound(nu, kappa, lip):
    alpha, lam = 0.98 * largest_step(lip, nu=nu, kappa=kappa), 0.1
    param = nn.Parameter(torch.randn(8, dtype=F64))
    optimizer = DessiLBI([param], alpha, nu=nu, kappa=kappa, lam=lam, penalty="l1")
    hessian, target = quadratic(8, 0.1 * lip, lip), 2 * torch.randn(8, dtype=F64)
    p, values = torch.zeros(8, dtype=F64), []
    for _ in range(300):
        gamma = optimizer.gamma(param)
        values.append(lyapunov(alpha, lam, nu, hessian, target, param.detach(), gamma, p))
        if optimizer.state[param]:
            p = subgradient(optimizer, param, kappa)
        quadratic_step(optimizer, param, hessian, target)
    assert all(b <= a + 1e-12 for a, b in pairwise(values))
    assert values[-1] < 1e-3 * values[0]


def distance_after(alpha: float) -> float:
    """From the minimiser of a quadratic with Lip = nu = kappa = 1, after 400 steps."""
    torch.manual_seed(0)
    param = nn.Parameter(torch.randn(8, dtype=F64))
    optimizer = DessiLBI([param], alpha, nu=1.0, lam=0.1, penalty="l1")
    hessian, target = torch.eye(8, dtype=F64), torch.randn(8, dtype=F64)
    for _ in range(400):
        quadratic_step(optimizer, param, hessian, target)
    return float((param.detach() - target).norm())


def test_printed_bound_diverges_and_the_right_one_converges():
    printed = 2 / (1.0 * (1.0 + 1.0))  # Theorem 1
    assert distance_after(0.98 * printed) > 1e10
    assert distance_after(0.98 * largest_step(1.0, nu=1.0)) < 1e-6


@pytest.mark.parametrize(("lip", "nu"), [(1.0, 1.0), (3.0, 0.2), (0.0, 5.0), (2.0, 100.0)])
def test_augmented_lipschitz_is_the_largest_eigenvalue(lip, nu):
    matrix = torch.tensor([[lip + 1 / nu, -1 / nu], [-1 / nu, 1 / nu]], dtype=F64)
    largest = float(torch.linalg.eigvalsh(matrix)[-1])
    assert math.isclose(augmented_lipschitz(lip, nu=nu), largest, rel_tol=1e-14)


def test_too_large_a_step_is_refused_with_the_bound():
    check_step(0.7, 1.0, nu=1.0)
    with pytest.raises(ValueError, match=r"0\.98 \(must be < 0\.7639"):
        check_step(0.98, 1.0, nu=1.0)


def test_threshold_on_schedule_is_when_a_constant_weight_enters():
    schedule = [(0.1, 30), (0.02, 40), (0.5, 10)]
    for end, value in enumerate(threshold_on_schedule(schedule, nu=5.0, lam=0.3)):
        weights = torch.tensor([0.999, 1.001], dtype=F64) * value
        param = nn.Parameter(weights.clone())
        optimizer = DessiLBI([param], 0.1, nu=5.0, lam=0.3, penalty="l1")
        for lr, steps in schedule[: end + 1]:
            optimizer.param_groups[0]["lr"] = lr
            for _ in range(steps):
                with torch.no_grad():
                    param.copy_(weights)  # held: V depends on it only
                param.grad = torch.zeros_like(param)
                optimizer.step()
        assert (optimizer.gamma(param) != 0).tolist() == [False, True]


def test_thresholds_of_the_papers_tables():
    epoch = 391
    pieces = [(0.1, 60 * epoch), (0.02, 60 * epoch), (0.004, 40 * epoch), (0.0008, 40 * epoch)]

    def rounded(digits, **options):
        values = threshold_on_schedule(pieces, nu=500, **options)
        return [round(values[i], digits) for i in (0, 1, 3)]

    # Table 2 with the published cap, Table 3 without.
    assert rounded(4, lam=6e-4, scaling="released") == [0.0128, 0.0107, 0.0104]
    assert rounded(3, lam=2e-3, scaling="released") == [0.043, 0.036, 0.035]
    assert rounded(2, lam=1.0) == [0.21, 0.18, 0.17]
    assert threshold_on_schedule([(0.0, 5)], nu=1.0) == [math.inf]
