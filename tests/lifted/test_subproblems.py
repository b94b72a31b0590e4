"""The convex sub-problems: all solvers of this package and L-BFGS find the same minimiser."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from lifted import Identity, L1Regulariser, Lift, LiftedNetwork, ReLU, SoftThreshold, Tanh, energy
from lifted.activation import Activation
from lifted.admm import admm_auxiliary, admm_parameters
from lifted.parameter_step import DirectBlock, GramBlock
from lifted.sweeps import sweep_auxiliary
from tests.lifted.cases import data

RHO, LAM, SAMPLES = 0.1, 2.0, 12
ACTIVATIONS: dict[str, type[Activation]] = {"relu": ReLU, "soft": SoftThreshold, "tanh": Tanh}


def fixed_lift(name: str, *, bias: bool = True, regulariser: float = 0.0) -> Lift:
    """The same network and variables every time; the first hidden variable is off its layer."""
    torch.manual_seed(2)
    make = ACTIVATIONS[name]
    modules = nn.Sequential(
        nn.Linear(5, 4, bias=bias), make(), nn.Linear(4, 6, bias=bias), make(), nn.Linear(6, 3)
    )
    terms = {1: L1Regulariser(regulariser)} if regulariser else None
    network = LiftedNetwork(modules.double(), lam=LAM, regularisers=terms)
    x, y = data(SAMPLES, 5, 3)
    with torch.no_grad():
        lift = Lift(network, x, y)
        for number in range(2):
            z = lift.preactivation(number)
            lift.set_aux(number, network.layers[number].activation(z + 0.3 * torch.randn_like(z)))
    return lift


def lbfgs(function, start: Tensor, bounds=None) -> tuple[Tensor, float]:
    """A minimiser and its value; `function` maps a tensor to a differentiable scalar."""

    def value_and_gradient(point: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.from_numpy(point.copy()).view_as(start).requires_grad_()
        value = function(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
        return value.item(), gradient.numpy().ravel()

    result = minimize(
        value_and_gradient,
        start.detach().numpy().ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 30},
    )
    return torch.from_numpy(result.x).view_as(start), float(result.fun)


def parameter_objective(lift: Lift, theta: Tensor, anchor: Tensor) -> Tensor:
    """Eq. (24) in the first layer; theta is (outputs, inputs + 1)."""
    z = lift.layer_input(0) @ theta[:, :-1].T + theta[:, -1]
    activation = lift.network.layers[0].activation
    pull = RHO / 2 * (theta - anchor).square().sum()
    return LAM * activation.bregman_loss(lift.aux[0], z).mean() + pull


def theta(lift: Lift) -> Tensor:
    weight, bias = lift.network.layers[0].affine.parameters
    return torch.cat([weight, bias[:, None]], 1).detach().clone()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_parameters_at_fixed_variables(name):
    reference = fixed_lift(name)
    anchor = theta(reference)
    best, value = lbfgs(lambda point: parameter_objective(reference, point, anchor), anchor)
    for method in ("direct", "gram", "admm"):
        lift = fixed_lift(name)
        with torch.no_grad():
            if method == "admm":
                admm_parameters(lift, 0, 4000, delta=0.5, rho=RHO)
            else:
                form = DirectBlock if method == "direct" else GramBlock
                block = form(lift, 0, rho=RHO, scale=1.0)
                block.run(4000)
                block.finish()
            found = parameter_objective(lift, theta(lift), anchor)
        assert abs(found.item() - value) < 1e-8, method
        torch.testing.assert_close(theta(lift), best, rtol=0, atol=1e-5)


def variable_objective(lift: Lift, x: Tensor) -> Tensor:
    """The energy in the first hidden variable, times the number of samples, up to a constant."""
    first, second = lift.network.layers[0].activation, lift.network.layers[1]
    z = second.affine.forward(x)
    value = LAM * first.bregman_loss(x, lift.preactivation(0)).sum()
    value = value + LAM * second.activation.bregman_loss(lift.aux[1], z).sum()
    terms = lift.network.regularisers
    return value + (terms[0].value(x).sum() if terms else 0)


@pytest.mark.parametrize("regulariser", [0.0, 0.1])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_variable_at_fixed_neighbours(name, regulariser):
    """L-BFGS works on x itself, within bounds; soft thresholds on the parts x = u - v >= 0."""
    reference = fixed_lift(name, regulariser=regulariser)
    start = reference.aux[0]
    if name == "relu":
        _, value = lbfgs(lambda x: variable_objective(reference, x), start, [(0, None)] * 48)
    elif name == "tanh" and not regulariser:
        bounds = [(-1 + 1e-12, 1 - 1e-12)] * 48
        _, value = lbfgs(lambda x: variable_objective(reference, x), start, bounds)
    else:  # |x| = u + v at the minimiser of the split problem
        value = split_value(reference, start)
    points = []
    for method in ("prox", "mirror", "admm"):
        lift = fixed_lift(name, regulariser=regulariser)
        with torch.no_grad():
            if method == "admm":
                admm_auxiliary(lift, 0, 4000, delta=1.0)
            else:
                lift.dual[0] = lift.preactivation(0)
                sweep_auxiliary(lift, 2000, scale=1.0, form=method, numbers=[0])
            assert abs(variable_objective(lift, lift.aux[0]).item() - value) < 1e-8, method
        points.append(lift.aux[0])
    torch.testing.assert_close(points[0], points[1], rtol=0, atol=1e-7)
    torch.testing.assert_close(points[0], points[2], rtol=0, atol=1e-7)


def split_value(lift: Lift, start: Tensor) -> float:
    """The minimum with all l1 norms written as sums of two non-negative parts."""
    first = lift.network.layers[0].activation
    second = lift.network.layers[1]
    alpha = first.alpha if isinstance(first, SoftThreshold) else 0.0
    l1 = LAM * alpha + (lift.network.regularisers[0].lam if lift.network.regularisers else 0.0)
    z0 = lift.preactivation(0)

    def function(parts: Tensor) -> Tensor:
        u, v = parts[0], parts[1]
        x = u - v
        # The l1 part of the kernel is counted below, on the parts.
        kernel = x.square().sum() / 2 if alpha else first._finite_kernel(x).sum()
        value = LAM * (kernel + first.phi(z0).sum() - (x * z0).sum()) + l1 * (u + v).sum()
        return (
            value
            + LAM * second.activation.bregman_loss(lift.aux[1], second.affine.forward(x)).sum()
        )

    parts = torch.stack([start.relu(), (-start).relu()])
    return lbfgs(function, parts, [(0, 0.999999 if not alpha else None)] * 96)[1]


def test_psi_zero_makes_the_variable_block_linear():
    """Without non-linearities the x-block is a linear system."""
    torch.manual_seed(4)
    modules = nn.Sequential(nn.Linear(5, 4), Identity(), nn.Linear(4, 3)).double()
    network = LiftedNetwork(modules, lam=LAM)
    x, y = data(SAMPLES, 5, 3)
    with torch.no_grad():
        lift = Lift(network, x, y)
        sweep_auxiliary(lift, 500, scale=1.0)
        weight, bias = network.layers[1].affine.parameters
        left = LAM * torch.eye(4, dtype=x.dtype) + weight.T @ weight
        right = LAM * lift.preactivation(0) + (y - bias) @ weight
        torch.testing.assert_close(lift.aux[0], torch.linalg.solve(left, right.T).T)
        first = energy(lift).total
        sweep_auxiliary(lift, 1, scale=1.0)
        torch.testing.assert_close(energy(lift).total, first)
