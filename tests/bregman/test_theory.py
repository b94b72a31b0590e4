"""Where the iterations go: the theorems of the paper on problems whose answer is known."""

from __future__ import annotations

import pytest
import torch

from bregman import AdaBreg, LinBreg, ProxAdam, ProxSGD, make_penalty
from tests.bregman.twins import PATHS

LAM, DELTA = 0.3, 0.8
J_SETTINGS = [
    {"penalty": "none"},
    {"penalty": "l1"},
    {"penalty": "l12", "group": "row"},
    {"penalty": "nuclear"},
]


class Quadratic:
    """L(theta) = theta^T H theta / 2 - b^T theta on a matrix parameter, strongly convex."""

    def __init__(self, shape: tuple[int, int] = (3, 4), smallest: float = 0.5) -> None:
        size = shape[0] * shape[1]
        basis = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64)).Q
        eigenvalues = torch.linspace(smallest, 4.0, size, dtype=torch.float64)
        self.shape = shape
        self.hessian = basis @ torch.diag(eigenvalues) @ basis.T
        self.linear = torch.randn(size, dtype=torch.float64)
        self.lipschitz = 4.0
        self.minimiser = torch.linalg.solve(self.hessian, self.linear).view(shape)

    def value(self, theta: torch.Tensor) -> torch.Tensor:
        flat = theta.flatten()
        return 0.5 * flat @ self.hessian @ flat - self.linear @ flat

    def gradient(self, theta: torch.Tensor) -> torch.Tensor:
        return (self.hessian @ theta.detach().flatten() - self.linear).view(self.shape)


def iterate(problem, optimizer, param, steps):
    for _ in range(steps):
        param.grad = problem.gradient(param)
        optimizer.step()
        yield param.detach()


def zero_start(shape) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("settings", J_SETTINGS, ids=str)
def test_linbreg_reaches_the_unregularised_minimiser(settings, foreach):
    """And the Bregman distance of J_delta to it never grows, for lr <= 1 / (delta L)."""
    problem = Quadratic()
    lam = 0.0 if settings["penalty"] == "none" else LAM
    penalty = make_penalty(settings["penalty"], group=settings.get("group"))
    param = zero_start(problem.shape)
    rate = 1 / (DELTA * problem.lipschitz)
    optimizer = LinBreg([param], lr=rate, delta=DELTA, lam=lam, foreach=foreach, **settings)

    def elastic_net(theta):
        return penalty.value(theta, lam) + theta.square().sum() / (2 * DELTA)

    target, previous, theta = problem.minimiser, torch.inf, param.detach()
    for theta in iterate(problem, optimizer, param, 1500):
        dual = optimizer.state[param]["dual"]
        distance = elastic_net(target) - elastic_net(theta) - (dual * (target - theta)).sum()
        assert -1e-12 <= distance <= previous + 1e-12
        previous = distance
    torch.testing.assert_close(theta, target, rtol=0, atol=1e-8)


@pytest.mark.parametrize("settings", J_SETTINGS[1:], ids=str)
@pytest.mark.parametrize("fraction", [0.5, 1.0, 1.9])
def test_theorem_2_without_noise(settings, fraction):
    """L(k+1) + D_sym / tau + C / (2 delta tau) |step|^2 <= L(k), with C = 2 - delta L tau > 0."""
    problem = Quadratic()
    rate = fraction / (DELTA * problem.lipschitz)
    constant = 2 - DELTA * problem.lipschitz * rate
    param = torch.nn.Parameter(torch.randn(problem.shape, dtype=torch.float64))
    optimizer = LinBreg([param], lr=rate, delta=DELTA, lam=LAM, **settings)
    param.grad = torch.zeros_like(param)
    optimizer.step()  # creates the dual, moves nothing

    def subgradient():
        return optimizer.state[param]["dual"] - param.detach() / DELTA

    before, p_before = param.detach().clone(), subgradient()
    decreased = 0
    for after in iterate(problem, optimizer, param, 200):
        p_after = subgradient()
        symmetric = ((p_after - p_before) * (after - before)).sum()
        assert symmetric >= -1e-12
        step = (after - before).square().sum()
        left = problem.value(after) + symmetric / rate + constant / (2 * DELTA * rate) * step
        assert left <= problem.value(before) + 1e-10
        decreased += bool(problem.value(after) < problem.value(before) - 1e-6)
        before, p_before = after.clone(), p_after
    assert decreased > 5


def test_loss_can_grow_beyond_the_step_bound():
    """The condition of Theorem 2 is about delta * lr: above 2 / (delta L) the iteration diverges."""
    problem = Quadratic()
    param = zero_start(problem.shape)
    optimizer = LinBreg([param], lr=2.2 / (DELTA * problem.lipschitz), delta=DELTA)
    values = [problem.value(theta).item() for theta in iterate(problem, optimizer, param, 100)]
    assert values[-1] > values[0]


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_underdetermined_problem_selects_the_elastic_net_solution(momentum, foreach):
    """From v = 0 the limit is argmin {lam |theta|_1 + |theta|^2 / (2 delta) : A theta = b}."""
    matrix = torch.randn(3, 7, dtype=torch.float64)
    right = matrix @ torch.tensor([1.5, 0, 0, -2.0, 0, 0, 0], dtype=torch.float64)
    lipschitz = torch.linalg.matrix_norm(matrix, 2).item() ** 2
    param = zero_start(7)
    lam, delta = 1.0, 2.0
    optimizer = LinBreg(
        [param],
        lr=1 / (delta * lipschitz),
        delta=delta,
        momentum=momentum,
        penalty="l1",
        lam=lam,
        foreach=foreach,
    )
    for _ in range(6000):
        param.grad = matrix.T @ (matrix @ param.detach() - right)
        optimizer.step()

    # Optimality of a convex problem, coordinate by coordinate: theta is feasible, and a multiplier mu
    # exists with A^T mu in lam d|theta|_1 + theta / delta. The dual is that A^T mu.
    theta, dual = param.detach(), optimizer.state[param]["dual"]
    torch.testing.assert_close(matrix @ theta, right, atol=1e-8, rtol=0)
    multiplier = torch.linalg.lstsq(matrix.T, dual[:, None]).solution
    torch.testing.assert_close(matrix.T @ multiplier[:, 0], dual, atol=1e-10, rtol=0)
    active = theta != 0
    torch.testing.assert_close(
        dual[active], lam * theta[active].sign() + theta[active] / delta, atol=1e-10, rtol=0
    )
    assert (dual[~active].abs() <= lam).all()
    assert 0 < active.sum() < 7  # the penalty did select


@pytest.mark.parametrize("cls", [LinBreg, AdaBreg])
def test_coordinates_enter_a_diagonal_problem_one_by_one(cls):
    """LinBreg, from v = 0: in the order of |dL / dtheta_i (0)|, whatever the curvatures."""
    curvature = torch.tensor([3.0, 0.5, 1.0, 2.0, 0.7, 1.5], dtype=torch.float64)
    target = torch.tensor([0.4, -3.0, 2.0, -0.2, 0.5, 1.5], dtype=torch.float64)
    param = zero_start(6)
    optimizer = cls([param], lr=1e-3, penalty="l1", lam=0.5)
    entered: list[int] = []
    for _ in range(15000):
        param.grad = curvature * (param.detach() - target)
        optimizer.step()
        new = set(param.nonzero().flatten().tolist()) - set(entered)
        if cls is LinBreg:
            assert len(new) <= 1
        entered.extend(new)
    order = (curvature * target).abs().argsort(descending=True).tolist()
    if cls is LinBreg:
        assert entered == order
    else:  # Adam's direction is blind to the size of the gradient: they come together
        assert sorted(entered) == sorted(order)
    torch.testing.assert_close(param.detach(), target, rtol=0, atol=1e-2)


def lasso_gap(problem: Quadratic, theta: torch.Tensor, lam: float) -> float:
    """Violation of -gradient in lam * sign(theta), the optimality condition of the Lasso."""
    gradient = problem.gradient(theta)
    active = theta != 0
    gap = torch.where(
        active, (gradient + lam * theta.sign()).abs(), (gradient.abs() - lam).clamp(min=0)
    )
    return gap.max().item()


@pytest.mark.parametrize("foreach", PATHS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_proxsgd_reaches_the_lasso_point(momentum, foreach):
    problem, lam = Quadratic(), 0.8
    param = torch.nn.Parameter(torch.randn(problem.shape, dtype=torch.float64))
    optimizer = ProxSGD([param], lr=0.2, momentum=momentum, penalty="l1", lam=lam, foreach=foreach)
    *_, theta = iterate(problem, optimizer, param, 1500)
    assert lasso_gap(problem, theta, lam) < 1e-9
    assert 0 < (theta == 0).sum() < theta.numel()
    assert lasso_gap(problem, problem.minimiser, lam) > 0.1


@pytest.mark.parametrize("settings", J_SETTINGS[2:], ids=str)
def test_proxsgd_reaches_the_minimiser_of_the_penalised_loss(settings):
    problem, lam = Quadratic(), 0.8
    penalty = make_penalty(settings["penalty"], group=settings.get("group"))
    param = torch.nn.Parameter(torch.randn(problem.shape, dtype=torch.float64))
    optimizer = ProxSGD([param], lr=0.2, lam=lam, **settings)
    *_, theta = iterate(problem, optimizer, param, 1500)
    best = problem.value(theta) + penalty.value(theta, lam)
    for scale in (1e-3, 1e-2, 1e-1, 1.0):
        for _ in range(50):
            other = theta + scale * torch.randn_like(theta)
            # Strong convexity with modulus 1/2 (the smallest eigenvalue).
            bound = best + 0.25 * (other - theta).square().sum()
            assert problem.value(other) + penalty.value(other, lam) >= bound - 1e-9


@pytest.mark.parametrize("foreach", PATHS)
def test_proxadam_reaches_the_lasso_point_and_stays(foreach):
    problem, lam = Quadratic(), 0.8
    param = torch.nn.Parameter(torch.randn(problem.shape, dtype=torch.float64))
    optimizer = ProxAdam([param], lr=0.02, betas=(0.5, 0.9), penalty="l1", lam=lam, foreach=foreach)
    *_, theta = iterate(problem, optimizer, param, 2500)
    assert lasso_gap(problem, theta, lam) < 1e-9
    assert 0 < (theta == 0).sum() < theta.numel()
    settled = theta.clone()
    *_, theta = iterate(problem, optimizer, param, 50)
    torch.testing.assert_close(theta, settled, rtol=0, atol=1e-10)


def test_linbreg_leaves_the_lasso_point():
    """The same start and lam: the limit of LinBreg is not the Lasso point but the true minimiser."""
    problem, lam = Quadratic(), 0.8
    param = torch.nn.Parameter(torch.randn(problem.shape, dtype=torch.float64))
    optimizer = LinBreg([param], lr=0.2, penalty="l1", lam=lam)
    *_, theta = iterate(problem, optimizer, param, 2000)
    torch.testing.assert_close(theta, problem.minimiser, rtol=0, atol=1e-8)
