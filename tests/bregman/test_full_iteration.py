"""Section 2: the full Bregman iteration (2.1) as an oracle, the flows it discretises, the limits.

The inner minimisation of (2.1), which makes it too expensive for networks, has a closed form on each
orthant of a small l1 problem: all of them are tried, and the optimality conditions pick the one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import linprog, minimize
from torch import Tensor

from bregman import LinBreg, make_penalty
from tests.bregman.distances import ElasticNet, dot, prepare

LAM = 0.6


@dataclass(frozen=True)
class LeastSquares:
    """|matrix theta - right|^2 / 2 with fewer equations than unknowns."""

    matrix: Tensor
    right: Tensor

    def loss(self, theta: Tensor) -> Tensor:
        return 0.5 * (self.matrix @ theta - self.right).square().sum()

    def gradient(self, theta: Tensor) -> Tensor:
        return self.matrix.T @ (self.matrix @ theta - self.right)

    @property
    def lipschitz(self) -> float:
        return torch.linalg.matrix_norm(self.matrix, 2).item() ** 2


def underdetermined(equations: int = 3, unknowns: int = 6) -> LeastSquares:
    """Solvable with theta >= 0, by a vector without zeros."""
    matrix = torch.randn(equations, unknowns, dtype=torch.float64)
    return LeastSquares(matrix, matrix @ torch.rand(unknowns, dtype=torch.float64))


def inner_minimiser(problem: LeastSquares, dual: Tensor, tau: float, delta: float) -> Tensor:
    """argmin lam |theta|_1 + |theta|^2 / (2 delta) - <dual, theta> + tau loss(theta): eq. 2.1a.

    With delta = inf the matrix of an orthant is invertible while no more unknowns are active than
    there are equations, and for data in general position that is so at the minimiser.
    """
    size = len(dual)
    signs = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=size))).double()
    if delta == math.inf:
        signs = signs[signs.abs().sum(1) <= len(problem.right)]
    active = signs.abs()
    quadratic = torch.eye(size).double() / delta + tau * problem.matrix.T @ problem.matrix
    linear = dual + tau * problem.matrix.T @ problem.right
    systems = quadratic * active[:, :, None] * active[:, None] + torch.diag_embed(1 - active)
    candidates = torch.linalg.solve(systems, active * (linear - LAM * signs))
    # 0 is in the subdifferential: equality on the active unknowns, which have the assumed signs,
    # and at most lam on the others.
    residuals = (linear - candidates @ quadratic).abs() - LAM
    wrong = torch.where(active.bool(), -candidates * signs, residuals).amax(1)
    best = wrong.argmin()
    assert wrong[best] <= 1e-9
    return candidates[best]


def full_iteration(
    problem: LeastSquares, tau: float, delta: float, theta: Tensor, dual: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Eq. 2.1 for J_delta (for J, if delta is infinite): pairs of theta and its subgradient."""
    while True:
        theta = inner_minimiser(problem, dual, tau, delta)
        dual = dual - tau * problem.gradient(theta)
        yield theta, dual


def zeros(size: int = 6) -> Tensor:
    return torch.zeros(size, dtype=torch.float64)


def linbreg(
    problem: LeastSquares, steps: int, start: Tensor | None = None, **settings
) -> tuple[Tensor, Tensor]:
    """Parameters and dual after some steps of the package's optimiser."""
    param = torch.nn.Parameter(zeros() if start is None else start.clone())
    optimizer = LinBreg([param], **{"lam": LAM, "penalty": "l1", **settings})
    prepare(optimizer, param)
    for _ in range(steps):
        param.grad = problem.gradient(param.detach())
        optimizer.step()
    return param.detach(), optimizer.state[param]["dual"]


def sparsest(problem: LeastSquares, penalty: str) -> Tensor:
    """argmin J subject to matrix theta = right, by linear programming."""
    matrix, right = problem.matrix.numpy(), problem.right.numpy()
    if penalty == "nonnegative":
        answer = linprog(np.ones(6), A_eq=matrix, b_eq=right, bounds=(0, None))
        return torch.from_numpy(answer.x)
    answer = linprog(np.ones(12), A_eq=np.hstack([matrix, -matrix]), b_eq=right, bounds=(0, None))
    return torch.from_numpy(answer.x[:6] - answer.x[6:])


@pytest.mark.parametrize("delta", [0.5, math.inf])
@pytest.mark.parametrize("tau", [0.3, 3.0])
def test_full_iteration_decreases_what_it_should(tau, delta):
    """The oracle: eq. 2.1 loses D_sym / tau of loss or more, at any tau, and nears every solution.

    Distances to a solution fall by tau times the loss, so that the loss is at most J / (k tau).
    """
    problem = underdetermined()
    energy = ElasticNet(make_penalty("l1"), LAM, delta)
    solution = sparsest(problem, "l1")
    theta, dual = zeros(), zeros()
    for k, (after, dual_after) in zip(
        range(1, 40), full_iteration(problem, tau, delta, theta, dual), strict=False
    ):
        symmetric = dot(dual_after - dual, after - theta)
        drop = problem.loss(theta) - problem.loss(after)
        assert symmetric >= -1e-12
        assert symmetric / tau <= drop + 1e-12
        gain = energy.distance(solution, theta, dual)
        gain = gain - energy.distance(solution, after, dual_after)
        assert gain >= tau * problem.loss(after) - 1e-9
        assert problem.loss(after) <= energy(solution) / (k * tau)
        theta, dual = after, dual_after
    assert problem.loss(theta) < 1e-4 * problem.loss(zeros())


def exact_regularisation(problem: LeastSquares, solution: Tensor, penalty: str) -> float:
    """The delta from which on the sparsest solution minimises J_delta, too (Yin 2010).

    It needs a multiplier y with matrix^T y = lam sign + theta / delta on the support, which is as
    large as the number of equations: y = y0 + y1 / delta is known. What is left is
    |column . y| <= lam off the support (without the modulus for theta >= 0).
    """
    support = solution.abs() > 1e-9
    assert support.sum() == len(problem.right)
    square = problem.matrix[:, support].T
    values = solution[support]
    y0, y1 = torch.linalg.solve(square, torch.stack([LAM * values.sign(), values], 1)).T
    constant, slope = problem.matrix[:, ~support].T @ y0, problem.matrix[:, ~support].T @ y1
    sides = [(LAM - constant, slope)]
    if penalty == "l1":
        sides.append((LAM + constant, -slope))
    thresholds = torch.cat([rise / room for room, rise in sides])
    assert all((room > 0).all() for room, _ in sides)  # the linear program has no other solution
    return thresholds.max().item()


@pytest.mark.parametrize("penalty", ["l1", "nonnegative"])
@pytest.mark.parametrize("seed", range(3))
def test_exact_regularisation_has_a_threshold(penalty, seed):
    """Section 2.2: from a known delta on, LinBreg ends at the argmin of J itself; below it does not."""
    torch.manual_seed(seed)
    problem = underdetermined()
    solution = sparsest(problem, penalty)
    threshold = exact_regularisation(problem, solution, penalty)
    assert threshold > 0
    for factor in (0.9, 1.1):
        delta = factor * threshold
        rate = 1.9 / (delta * problem.lipschitz)
        theta, _ = linbreg(problem, 4000, lr=rate, delta=delta, penalty=penalty)
        assert problem.loss(theta) < 1e-14
        error = (theta - solution).abs().max()
        assert error < 1e-6 if factor > 1 else error > 1e-3


def test_full_iteration_ends_at_the_sparsest_solution():
    """Without elastic net: after finitely many steps, and LinBreg with large delta agrees."""
    problem = underdetermined()
    solution = sparsest(problem, "l1")
    iteration = full_iteration(problem, 1.0, math.inf, zeros(), zeros())
    iterates = [theta for theta, _ in itertools.islice(iteration, 30)]
    errors = [(theta - solution).abs().max().item() for theta in iterates]
    arrival = next(k for k, error in enumerate(errors) if error < 1e-9)
    assert 0 < arrival < 25
    assert errors[arrival - 1] > 1e-3  # not by convergence
    assert max(errors[arrival:]) < 1e-9
    delta = 1.2 * exact_regularisation(problem, solution, "l1")
    theta, _ = linbreg(problem, 4000, lr=1.9 / (delta * problem.lipschitz), delta=delta)
    torch.testing.assert_close(theta, iterates[-1], rtol=0, atol=1e-6)


def nearest_solution(problem: LeastSquares, dual: Tensor, delta: float) -> Tensor:
    """argmin of the Bregman distance of J_delta to the start among all solutions, by SLSQP.

    On positive and negative parts, where the problem is smooth.
    """
    matrix, right, slope = problem.matrix.numpy(), problem.right.numpy(), dual.numpy()
    both = np.hstack([matrix, -matrix])

    def value(parts: np.ndarray) -> tuple[float, np.ndarray]:
        theta = parts[:6] - parts[6:]
        gradient = theta / delta - slope
        total = LAM * parts.sum() + theta @ theta / (2 * delta) - slope @ theta
        return total, np.concatenate([LAM + gradient, LAM - gradient])

    answer = minimize(
        value,
        np.ones(12),
        jac=True,
        method="SLSQP",
        bounds=[(0, None)] * 12,
        constraints={"type": "eq", "fun": lambda x: both @ x - right, "jac": lambda x: both},
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return torch.from_numpy(answer.x[:6] - answer.x[6:])


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_limits_have_the_smallest_bregman_distance_to_the_start(momentum):
    """LinBreg and (2.1) end at the same solution, the nearest to a start other than 0."""
    problem, delta = underdetermined(), 2.0
    start = torch.tensor([0.0, 1.5, 0.0, -1.0, 0.0, 0.0], dtype=torch.float64)
    dual = start / delta + LAM * start.sign()
    rate = 1 / (delta * problem.lipschitz)
    settings = {"lr": rate, "delta": delta, "momentum": momentum}
    theta, _ = linbreg(problem, 4000, start, **settings)
    iteration = full_iteration(problem, 2.0, delta, start, dual)
    full, _ = next(itertools.islice(iteration, 150, None))
    torch.testing.assert_close(theta, full, rtol=0, atol=1e-8)
    torch.testing.assert_close(theta, nearest_solution(problem, dual, delta), rtol=0, atol=1e-5)

    from_zero, _ = linbreg(problem, 4000, **settings)
    nearest_to_zero = nearest_solution(problem, zeros(), delta)
    torch.testing.assert_close(from_zero, nearest_to_zero, rtol=0, atol=1e-5)
    assert (theta - from_zero).abs().max() > 0.1


def flow(problem: LeastSquares, delta: float, gamma: float, time: float) -> np.ndarray:
    """The dual of the flow (2.10), or of its inertial form (2.11), by an accurate ODE solver."""
    matrix, right = problem.matrix.numpy(), problem.right.numpy()

    def force(dual: np.ndarray) -> np.ndarray:
        theta = delta * np.sign(dual) * np.maximum(np.abs(dual) - LAM, 0)
        return -matrix.T @ (matrix @ theta - right)

    def first_order(_: float, dual: np.ndarray) -> np.ndarray:
        return force(dual)

    def second_order(_: float, state: np.ndarray) -> np.ndarray:
        dual, velocity = state[:6], state[6:]
        return np.concatenate([velocity, (force(dual) - velocity) / gamma])

    system, size = (second_order, 12) if gamma else (first_order, 6)
    answer = solve_ivp(system, (0, time), np.zeros(size), rtol=1e-9, atol=1e-11, max_step=0.05)
    return answer.y[:6, -1]


def error_ratios(end: Callable[[int], Tensor], dual: np.ndarray) -> list[float]:
    """By what the error falls when the number of steps is doubled, twice."""
    target = torch.from_numpy(dual)
    errors = [(end(steps) - target).norm().item() for steps in (400, 800, 1600)]
    return [errors[0] / errors[1], errors[1] / errors[2]]


TIME, DELTA = 0.5, 1.5


def test_full_and_linearised_iterations_follow_the_inverse_scale_space_flow():
    """Eq. 2.10: implicit and explicit Euler, whose errors of first order have opposite signs."""
    problem = underdetermined()
    exact = flow(problem, DELTA, 0.0, TIME)
    assert 0 < (np.abs(exact) > LAM).sum() < 6  # on the way: some weights have entered

    def explicit(steps: int) -> Tensor:
        return linbreg(problem, steps, lr=TIME / steps, delta=DELTA)[1]

    def implicit(steps: int) -> Tensor:
        iteration = full_iteration(problem, TIME / steps, DELTA, zeros(), zeros())
        return next(itertools.islice(iteration, steps - 1, None))[1]

    assert error_ratios(explicit, exact) == pytest.approx([2.0, 2.0], rel=0.02)
    late, early = explicit(400) - torch.from_numpy(exact), implicit(400) - torch.from_numpy(exact)
    assert late.norm() > 5e-4
    # The mean of the two is of second order, up to the steps in which weights enter.
    assert (late + early).norm() < 0.02 * late.norm()


@pytest.mark.parametrize("gamma", [0.1, 0.5])
def test_momentum_follows_the_inertial_flow(gamma):
    """Eqs. 2.11-2.14: beta = gamma / (tau + gamma) discretises the second-order flow."""
    problem = underdetermined()
    exact = flow(problem, DELTA, gamma, TIME)

    def end(steps: int) -> Tensor:
        tau = TIME / steps
        momentum = gamma / (tau + gamma)
        return linbreg(problem, steps, lr=tau, delta=DELTA, momentum=momentum)[1]

    assert error_ratios(end, exact) == pytest.approx([2.0, 2.0], rel=0.02)
    first_order = flow(problem, DELTA, 0.0, TIME)
    assert np.linalg.norm(exact - first_order) > 0.01  # inertia is visible


def test_momentum_is_a_mean_of_past_gradients():
    """Eq. 2.5, which lacks a factor 1 / gamma: under a constant gradient g the velocity tends to -g.

    -(1 / gamma) int_0^t exp((s - t) / gamma) g ds = -(1 - exp(-t / gamma)) g, not gamma times that.
    """
    gamma, tau, time = 0.25, 1e-4, 0.5
    gradient = torch.tensor([2.0, -1.0], dtype=torch.float64)
    param = torch.nn.Parameter(zeros(2))
    optimizer = LinBreg([param], lr=tau, momentum=gamma / (tau + gamma))
    for _ in range(round(time / tau)):
        param.grad = gradient.clone()
        optimizer.step()
    velocity = -optimizer.state[param]["momentum_buffer"] / tau
    expected = -(1 - math.exp(-time / gamma)) * gradient
    torch.testing.assert_close(velocity, expected, rtol=1e-3, atol=0)
