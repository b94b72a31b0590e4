"""Theorems 2, 6 and 11 in expectation: exact averages over all sequences of batches.

The loss is a quadratic, and batch b adds a constant n_b to its gradient, with mean 0: then L, mu
and sigma of the assumptions are known exactly, and the noise is bounded uniformly (batches with
different Hessians would not satisfy Assumption 2). All batch sequences run side by side, each in
its own row of one parameter, since the penalties used here treat rows by themselves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import scipy.linalg
import torch
from torch import Tensor

from bregman import LinBreg, make_penalty
from tests.bregman.distances import ElasticNet, dot, prepare


@dataclass
class NoisyQuadratic:
    """L(theta) = |theta - target|_H^2 / 2, so min L = 0; `noise` has a row per batch."""

    hessian: Tensor
    target: Tensor
    noise: Tensor

    @property
    def eigenvalues(self) -> Tensor:
        return torch.linalg.eigvalsh(self.hessian)

    @property
    def mu(self) -> float:
        return self.eigenvalues[0].item()

    @property
    def lipschitz(self) -> float:
        return self.eigenvalues[-1].item()

    @property
    def sigma(self) -> float:
        return self.noise.square().sum(1).mean().sqrt().item()

    def loss(self, theta: Tensor) -> Tensor:
        return 0.5 * ((theta - self.target) * self.gradient(theta)).sum(1)

    def gradient(self, theta: Tensor) -> Tensor:
        return (theta - self.target) @ self.hessian


@dataclass
class Problem:
    """A quadratic with a penalty on its four entries."""

    loss: NoisyQuadratic
    penalty: str
    delta: float

    @property
    def lam(self) -> float:
        return 0.25 / self.delta**0.5  # weights of every delta meet the kink within a few steps

    @property
    def group(self) -> tuple[int, ...] | None:
        return (-1,) if self.penalty == "l12" else None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row of the parameter: two groups of two entries for l12."""
        return (2, 2) if self.group else self.loss.target.shape

    def energy(self, delta: float) -> ElasticNet:
        return ElasticNet(make_penalty(self.penalty, group=self.group), self.lam, delta)


@dataclass
class Step:
    """All rows before and after one step."""

    problem: Problem
    rate: float
    noise: Tensor
    theta: Tensor
    dual: Tensor
    theta_next: Tensor
    dual_next: Tensor

    def distances(self, to: Tensor, at: Tensor, dual: Tensor, *, plain: bool = False) -> Tensor:
        """Bregman distances of J_delta, or of J (`plain`), row by row."""
        delta = self.problem.delta
        dual = dual - at / delta if plain else dual
        energy = self.problem.energy(math.inf if plain else delta)
        rows = [x.expand_as(at).reshape(-1, *self.problem.shape) for x in (to, at, dual)]
        return torch.func.vmap(energy.distance)(*rows)

    def mean_distance(self, to: Tensor, at: Tensor, dual: Tensor, *, plain: bool = False) -> float:
        return self.distances(to, at, dual, plain=plain).mean().item()

    def distance_to_target(self, *, after: bool = False) -> float:
        """d_k, or d_(k+1) with `after`."""
        target = self.problem.loss.target
        if after:
            return self.mean_distance(target, self.theta_next, self.dual_next)
        return self.mean_distance(target, self.theta, self.dual)

    @property
    def squared_step(self) -> float:
        return (self.theta_next - self.theta).square().sum(1).mean().item()

    @property
    def squared_error_after(self) -> float:
        return (self.theta_next - self.problem.loss.target).square().sum(1).mean().item()

    @property
    def symmetric(self) -> float:
        """E of the symmetric Bregman distance of J."""
        forward = self.mean_distance(self.theta_next, self.theta, self.dual, plain=True)
        backward = self.mean_distance(self.theta, self.theta_next, self.dual_next, plain=True)
        return forward + backward


def run(
    problem: Problem, noise: Tensor, rates: list[float], start: Tensor | None = None
) -> list[Step]:
    """LinBreg on `noise`, of shape (rows, steps, entries), from one start (default 0) in all rows."""
    loss = problem.loss
    rows = noise.shape[0]
    theta = torch.zeros_like(loss.target) if start is None else start
    param = torch.nn.Parameter(theta.repeat(rows, 1).view(rows, *problem.shape))
    optimizer = LinBreg(
        [param],
        lr=rates[0],
        delta=problem.delta,
        lam=problem.lam,
        penalty=problem.penalty,
        group=problem.group,
    )
    prepare(optimizer, param)

    def now() -> tuple[Tensor, Tensor]:
        dual = optimizer.state[param]["dual"]
        return param.detach().view(rows, -1).clone(), dual.view(rows, -1).clone()

    steps = []
    for k, rate in enumerate(rates):
        before = now()
        param.grad = (loss.gradient(before[0]) + noise[:, k]).view_as(param)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        steps.append(Step(problem, rate, noise[:, k], *before, *now()))
    return steps


def all_sequences(loss: NoisyQuadratic, steps: int) -> Tensor:
    """The noise of every sequence of batches: batches^steps rows of equal probability."""
    batches = torch.arange(len(loss.noise))
    return loss.noise[torch.cartesian_prod(*[batches] * steps)]


def sloping(first: float, steps: int, power: float = 0.6) -> list[float]:
    """Steps c / (k + 1)^p as in Remark 7: not summable, square-summable, non-increasing."""
    return [first / (k + 1) ** power for k in range(steps)]


PENALTIES = ["none", "l1", "l12", "nonnegative"]


def problem(penalty: str, delta: float = 0.7, sigma: float = 1.0) -> Problem:
    """Condition number 1.6, three batches; `target` is feasible, sparse, and starts at distance."""
    basis = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    eigenvalues = torch.linspace(1.0, 1.6, 4, dtype=torch.float64)
    target = torch.tensor([1.2, 0.7, 0.0, 0.0], dtype=torch.float64)
    if penalty != "nonnegative":
        target[1] *= -1
    noise = torch.randn(3, 4, dtype=torch.float64)
    noise -= noise.mean(0)
    noise *= sigma / noise.square().sum(1).mean().sqrt()
    return Problem(
        NoisyQuadratic(basis @ eigenvalues.diag() @ basis.T, target, noise), penalty, delta
    )


def is_selective(steps: list[Step]) -> bool:
    """Whether the kink of J was met: weights vanish in some rows and steps but not in others."""
    zeros = torch.stack([step.theta_next == 0 for step in steps[1:]])
    return 0.05 < zeros.double().mean().item() < 0.95


def test_rows_are_separate_runs():
    """The device of this file: a row of the big run equals LinBreg alone on its batch sequence."""
    for penalty in PENALTIES:
        case = problem(penalty)
        noise = all_sequences(case.loss, 4)
        rates = sloping(0.5, 4)
        together = run(case, noise, rates)[-1].theta_next
        for row in (0, 17, 80):
            alone = run(case, noise[row : row + 1], rates)[-1].theta_next
            torch.testing.assert_close(alone[0], together[row], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("delta", [0.4, 1.5])
def test_lemma_14_in_expectation(penalty, delta):
    """Eqs. B.1 and B.2 as equalities; only B.2 may replace the noisy gradient by the true one."""
    case = problem(penalty, delta)
    loss = case.loss
    misses = 0.0
    for step in run(case, all_sequences(loss, 7), sloping(0.6 / delta, 7)):
        change = step.distance_to_target(after=True) - step.distance_to_target()
        exact = loss.gradient(step.theta)

        def mean_product(direction: Tensor, at: Tensor) -> float:
            return dot(direction, loss.target - at).item() / len(at)

        forward = step.mean_distance(step.theta_next, step.theta, step.dual)
        noisy = mean_product(exact + step.noise, step.theta_next)
        assert change == pytest.approx(-forward + step.rate * noisy, abs=1e-12)

        backward = step.mean_distance(step.theta, step.theta_next, step.dual_next)
        assert change == pytest.approx(
            backward + step.rate * mean_product(exact, step.theta), abs=1e-12
        )
        misses += abs(noisy - mean_product(exact, step.theta_next))
    assert misses > 0.05


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("fraction", [0.2, 0.6, 0.9])
def test_theorem_2_in_expectation(penalty, fraction):
    """Eq. 3.5 with the constants of its proof, C = 2 - delta L tau - c, for every c in between."""
    case = problem(penalty, sigma=0.3)
    loss, delta = case.loss, case.delta
    rates = [fraction * 2 / (delta * loss.lipschitz)] * 7
    steps = run(case, all_sequences(loss, 7), rates)
    for step in steps:
        room = 2 - delta * loss.lipschitz * step.rate
        drop = (loss.loss(step.theta) - loss.loss(step.theta_next)).mean().item()
        for c in (0.05 * room, 0.3 * room, 0.7 * room):
            left = step.symmetric / step.rate
            left += (room - c) / (2 * delta * step.rate) * step.squared_step
            assert left <= drop + step.rate * delta * loss.sigma**2 / (2 * c) + 1e-12
    assert is_selective(steps) or penalty == "none"


def top_noise(loss: NoisyQuadratic, sigma: float) -> NoisyQuadratic:
    """Two batches, which push along the steepest direction of the loss."""
    steepest = torch.linalg.eigh(loss.hessian).eigenvectors[:, -1]
    return NoisyQuadratic(loss.hessian, loss.target, sigma * torch.stack([steepest, -steepest]))


def dense_problem(delta: float, sigma: float) -> Problem:
    """All weights active at the target, and noise along the steepest direction: no kink near by."""
    case = problem("l1", delta)
    case.loss.target = torch.tensor([3.0, -2.0, 4.0, -3.0], dtype=torch.float64)
    case.loss = top_noise(case.loss, sigma)
    return case


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_theorem_2_is_sharp(fraction):
    """From the minimiser, with noise along the steepest direction, 3.5 with c = 1 is an equality."""
    case = dense_problem(delta=0.7, sigma=1.3)
    loss, delta = case.loss, case.delta
    rate = fraction * 2 / (delta * loss.lipschitz)
    (step,) = run(case, all_sequences(loss, 1).unsqueeze(1), [rate], start=loss.target)
    left = loss.loss(step.theta_next).mean().item() + step.symmetric / rate
    left += (1 - delta * loss.lipschitz * rate) / (2 * delta * rate) * step.squared_step
    assert left == pytest.approx(rate * delta * loss.sigma**2 / 2, rel=1e-12)


def test_theorem_2_needs_a_strict_step_bound():
    """At tau = 2 / (delta L), which the paper admits, the loss stands still: no C > 0 is left."""
    case = dense_problem(delta=0.7, sigma=0.0)
    loss = case.loss
    steepest = torch.linalg.eigh(loss.hessian).eigenvectors[:, -1]
    rate = 2 / (case.delta * loss.lipschitz)
    silence = torch.zeros(1, 5, 4, dtype=torch.float64)
    for step in run(case, silence, [rate] * 5, start=loss.target + 0.5 * steepest):
        assert loss.loss(step.theta_next).item() == pytest.approx(loss.loss(step.theta).item())
        assert step.symmetric == pytest.approx(0, abs=1e-12)
        assert step.squared_step == pytest.approx(1.0)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_corollary_3_sums(penalty):
    """Distances and squared steps sum to less than tau_0 E L_0 + delta sigma^2 / (2c) sum tau^2."""
    case = problem(penalty)
    loss, delta = case.loss, case.delta
    rates = sloping(0.3 * 2 / (delta * loss.lipschitz), 8)
    steps = run(case, all_sequences(loss, 8), rates)
    c = 0.5 * (2 - delta * loss.lipschitz * rates[0])
    left, right = 0.0, rates[0] * loss.loss(steps[0].theta).mean().item()
    for step in steps:
        left += step.symmetric + c / (2 * delta) * step.squared_step  # C = c at the first step
        right += delta * loss.sigma**2 / (2 * c) * step.rate**2
        assert left <= right
    assert left > right / 4  # no more than four times too large


def theorem_6_sides(step: Step) -> tuple[float, float]:
    """Left and right of eq. 3.8."""
    loss = step.problem.loss
    change = step.distance_to_target(after=True) - step.distance_to_target()
    left = change + loss.mu / 4 * step.rate * step.squared_error_after
    return left, loss.sigma / 2 * (step.rate**2 + step.squared_step)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("delta", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_theorem_6_in_expectation(penalty, delta, sigma):
    """Eq. 3.8 as printed, and with the weights delta and 1 / delta that the proof ends with.

    Both follow from E <noise, step> <= sigma sqrt(E |step|^2). Remark 7 admits first steps up to
    mu / (delta L^2), twice what the theorem does; the theorem is taken.
    """
    case = problem(penalty, delta, sigma)
    loss = case.loss
    steps = run(case, all_sequences(loss, 8), sloping(loss.mu / (2 * delta * loss.lipschitz**2), 8))
    for step in steps:
        left, right = theorem_6_sides(step)
        proved = loss.sigma / 2 * (delta * step.rate**2 + step.squared_step / delta)
        assert left <= min(right, proved) + 1e-12
    assert steps[-1].distance_to_target(after=True) < steps[0].distance_to_target()
    assert is_selective(steps) or penalty == "none"


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_theorem_6_is_within_a_factor_of_two(sigma):
    """From the minimiser and with delta = 1 / sigma, 3.8 is 1 / (1 + mu delta tau / 2) from half."""
    case = dense_problem(delta=1 / sigma, sigma=sigma)
    loss, delta = case.loss, case.delta
    rate = loss.mu / (2 * delta * loss.lipschitz**2)
    (step,) = run(case, all_sequences(loss, 1).unsqueeze(1), [rate], start=loss.target)
    left, right = theorem_6_sides(step)
    assert left / right == pytest.approx(0.5 * (1 + loss.mu * delta * rate / 2), rel=1e-12)


def test_theorem_6_needs_its_own_step_bound():
    """At 0.95 of the bound of Theorem 2 the distance still falls, but not as fast as 3.8 says."""
    case = dense_problem(delta=0.7, sigma=0.0)
    loss = case.loss
    loss.hessian = 2.0 * torch.eye(4, dtype=torch.float64)
    rate = 0.95 * 2 / (case.delta * 2.0)
    silence = torch.zeros(1, 1, 4, dtype=torch.float64)
    (step,) = run(case, silence, [rate], start=loss.target + 0.5)
    assert step.distance_to_target(after=True) < step.distance_to_target()
    left, right = theorem_6_sides(step)
    assert left > right + 0.1


def bregman_convexity(case: Problem) -> float:
    """A constant nu for Assumption 5 between the minimiser and any other point.

    With weights w_g (1 for entries) the distance of lam J to the target is at most
    2 lam w_g / |target_g| times the squared error of the group, and 0 where target_g = 0.
    """
    groups = case.loss.target.view(-1, 2 if case.group else 1)
    norms = groups.norm(dim=1)
    steepness = (groups.shape[1] ** 0.5 * case.lam / norms[norms > 0]).max().item()
    return case.loss.mu / (1 / case.delta + 4 * steepness)


@pytest.mark.parametrize("penalty", ["l1", "l12"])
@pytest.mark.parametrize("delta", [0.4, 1.5])
@pytest.mark.parametrize("sigma", [0.3, 2.0])
@pytest.mark.parametrize("place", [0.0, 1.0], ids=["from-zero", "from-target"])
def test_theorem_11_in_expectation(penalty, delta, sigma, place):
    """Eq. 3.10, with a nu whose Assumption 5 is checked in every row.

    The proof needs Assumption 5 towards the minimiser only, and there it holds everywhere, not just
    near by as in Remark 5. (For all pairs of points, as it is stated, no smooth loss satisfies it:
    J has kinks. And the nonnegative penalty has unbounded subgradients and no nu at all.)
    """
    case = problem(penalty, delta, sigma)
    loss, nu = case.loss, bregman_convexity(case)
    rates = [nu / (4 * delta**2 * loss.lipschitz**2)] * 7
    for step in run(case, all_sequences(loss, 7), rates, start=place * loss.target):
        # L(target) - L - <grad L, target - theta> = L for a quadratic with L(target) = 0
        apart = step.distances(loss.target, step.theta, step.dual)
        assert (loss.loss(step.theta) >= nu * apart - 1e-12).all()
        shrink = 1 - step.rate * nu * (1 - step.rate * 2 * delta**2 * loss.lipschitz**2 / nu)
        right = shrink * step.distance_to_target() + delta * step.rate**2 * loss.sigma**2
        assert step.distance_to_target(after=True) <= right


def test_assumption_5_fails_between_other_points():
    """Across a kink the loss is smooth and the distance is not: L is of order h^2, D_J of order h."""
    case = dense_problem(delta=0.7, sigma=0.0)
    loss, nu = case.loss, bregman_convexity(case)
    energy = case.energy(case.delta)
    for h, fails in ((3.0, False), (1e-3, True)):
        at, to = torch.zeros_like(loss.target), torch.zeros_like(loss.target)
        at[0], to[0] = -h, h
        dual = at / case.delta + case.lam * at.sign()
        gap = loss.loss(to[None]) - loss.loss(at[None]) - dot(loss.gradient(at[None])[0], to - at)
        assert (gap < nu * energy.distance(to, at, dual)).item() is fails


def test_theorem_11_is_within_a_factor_of_two():
    """From the minimiser d_1 = delta tau^2 sigma^2 / 2, half of what 3.10 allows."""
    case = dense_problem(delta=0.7, sigma=1.3)
    (step,) = run(case, all_sequences(case.loss, 1).unsqueeze(1), [0.2], start=case.loss.target)
    allowed = case.delta * 0.2**2 * case.loss.sigma**2
    assert step.distance_to_target(after=True) / allowed == pytest.approx(0.5, rel=1e-12)


# Long runs. Where no weight changes its sign the iteration is affine, and second moments need no
# more than noises that are pairwise uncorrelated: the columns of a Hadamard matrix are, so that the
# mean over 2^m rows is the exact expectation of independent signs over 2^m - 1 steps.


def hadamard_noise(loss: NoisyQuadratic, order: int) -> Tensor:
    signs = torch.from_numpy(scipy.linalg.hadamard(order)[:, 1:]).double()
    return signs[:, :, None] * loss.noise[0]


def long_run(
    case: Problem, start: Tensor, rate: Callable[[int], float], order: int
) -> tuple[list[float], list[Step]]:
    """d_0 ... d_(order - 1) and the steps, after a check that no sign has changed."""
    noise = hadamard_noise(case.loss, order)
    steps = run(case, noise, [rate(k) for k in range(order - 1)], start=start)
    assert all((step.theta * case.loss.target > 0).all() for step in steps)
    distances = [step.distance_to_target() for step in steps]
    return [*distances, steps[-1].distance_to_target(after=True)], steps


def test_theorem_11_with_constant_steps():
    """Limes superior of 3.11: d_k settles below tau delta sigma^2 / nu', at the value of a closed form.

    In the steepest direction, with curvature h, the variance settles at delta tau sigma^2 /
    (h (2 - delta tau h)), and d is that over 2 delta.
    """
    case = dense_problem(delta=0.7, sigma=1.3)
    loss, delta, nu = case.loss, case.delta, case.delta * case.loss.mu
    rate = nu / (8 * delta**2 * loss.lipschitz**2)
    distances, _ = long_run(case, 1.3 * loss.target, lambda k: rate, 256)
    slope = nu - 2 * rate * delta**2 * loss.lipschitz**2
    level = rate * delta * loss.sigma**2 / slope
    settled = rate * loss.sigma**2 / (2 * loss.lipschitz * (2 - delta * rate * loss.lipschitz))
    assert distances[-1] == pytest.approx(settled, rel=1e-6)
    assert settled < level < 10 * settled
    for before, after in itertools.pairwise(distances):  # eq. B.3 with C = level
        assert after - level <= (1 - rate * slope) * (before - level) + 1e-12


def test_theorem_6_and_corollary_10_with_square_summable_steps():
    """d_k goes to 0, and the sum of 3.8 bounds the smallest squared error as in the proof of 3.9."""
    case = dense_problem(delta=0.7, sigma=1.3)
    loss = case.loss
    first = loss.mu / (2 * case.delta * loss.lipschitz**2)
    distances, steps = long_run(case, 1.3 * loss.target, lambda k: first / (k + 1) ** 0.6, 1024)
    weighted = sum(step.rate * step.squared_error_after for step in steps)
    noise = sum(loss.sigma / 2 * (step.rate**2 + step.squared_step) for step in steps)
    assert loss.mu / 4 * weighted <= distances[0] + noise
    bound = (distances[0] + noise) / (loss.mu / 4 * sum(step.rate for step in steps))
    assert min(step.squared_error_after for step in steps) <= bound
    assert distances[-1] < 0.01 * distances[0]
    assert distances[-1] < 0.7 * distances[len(distances) // 2]  # and it has not stopped there


def test_corollary_3_fails_for_constant_steps():
    """Square-summable rates are needed: with a constant rate every late step adds the same amount.

    With the settled variance s of the test above, |step|^2 has the mean (delta tau)^2 (h^2 s +
    sigma^2) = 2 (delta tau sigma)^2 / (2 - delta tau h).
    """
    case = dense_problem(delta=0.7, sigma=1.3)
    rate = 0.3
    _, steps = long_run(case, case.loss.target, lambda k: rate, 256)
    move = case.delta * rate
    settled = 2 * (move * case.loss.sigma) ** 2 / (2 - move * case.loss.lipschitz)
    assert [step.squared_step for step in steps[-50:]] == pytest.approx([settled] * 50, rel=1e-9)


def one_dimension(curvature: float, sigma: float) -> Problem:
    column = torch.ones(1, dtype=torch.float64)
    loss = NoisyQuadratic(
        curvature * column[None], 5 * column, sigma * torch.stack([column, -column])
    )
    return Problem(loss, "l1", delta=0.5)


def test_corollary_12_rate():
    """With tau = c / k and a = c delta h > 1/2, k d_k goes to c^2 delta sigma^2 / (2 (2a - 1))."""
    case = one_dimension(curvature=2.0, sigma=1.5)
    c = 1.5
    distances, _ = long_run(case, 1.1 * case.loss.target, lambda k: c / (k + 1), 1024)
    a = c * case.delta * 2.0
    limit = c**2 * case.delta * 1.5**2 / (2 * (2 * a - 1))
    for k in (256, 1024):
        assert k * distances[k - 1] == pytest.approx(limit, rel=2 / k)


def test_corollary_12_fails_for_small_constants():
    """The paper asks for a small c; with a = c delta h = 1/4 and no noise d_k falls as k^(-1/2) only.

    The error is multiplied by 1 - a / k: after K - 1 steps by
    Gamma(K - a) / (Gamma(K) Gamma(1 - a)).
    """
    case = one_dimension(curvature=2.0, sigma=0.0)
    a, order = 0.25, 1024
    c = a / (case.delta * 2.0)
    distances, _ = long_run(case, 1.1 * case.loss.target, lambda k: c / (k + 1), order)
    factor = math.exp(math.lgamma(order - a) - math.lgamma(order) - math.lgamma(1 - a))
    assert distances[-1] == pytest.approx(distances[0] * factor**2, rel=1e-10)
    growth = (order * distances[order - 1]) / (order // 4 * distances[order // 4 - 1])
    assert growth == pytest.approx(2.0, rel=1e-2)  # k d_k doubles whenever k is four times larger
