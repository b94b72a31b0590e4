"""The two kinds of step: right gradients, right fixed points, fast forms equal to plain ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lifted import L1Regulariser, Lift, LiftedNetwork, SoftThreshold, energy
from lifted.auxiliary_step import AuxiliaryBlock, lipschitz, relaxation
from lifted.parameter_step import DirectBlock, GramBlock
from lifted.sweeps import fit_parameters, sweep_auxiliary
from tests.lifted.cases import convolutional_network, data, images, perceptron, residual_network

PENALTIES = ("bregman", "classical", "mac")
CASES = {
    "dense": lambda **s: (perceptron(5, 6, 4, 3, **s), data(9, 5, 3)),
    "tanh": lambda **s: (perceptron(5, 6, 4, 3, activation=nn.Tanh, **s), data(9, 5, 3)),
    "sigmoid": lambda **s: (perceptron(5, 6, 4, 3, activation=nn.Sigmoid, **s), data(9, 5, 3)),
    "residual": lambda **s: (residual_network(**s), data(9, 5, 3)),
    "convolution": lambda **s: (convolutional_network(**s), images(9)),
}


def disturbed(case: str, **settings) -> Lift:
    """A lift whose auxiliary variables are inside their domains but off the forward pass."""
    network, (x, y) = CASES[case](lam=2.0, **settings)
    with torch.no_grad():
        lift = Lift(network, x, y)
        for number, layer in enumerate(network.layers[:-1]):
            z = lift.preactivation(number)
            lift.set_aux(number, layer.activation(z + 0.5 * torch.randn_like(z)) + 0.01)
    if case == "sigmoid":
        for number in range(len(lift.aux)):
            lift.set_aux(number, lift.aux[number].clamp(0.01, 0.99))
    if case in ("tanh", "residual"):
        for number in range(len(lift.aux)):
            smooth = type(network.layers[number].activation).__name__ == "Tanh"
            lift.set_aux(
                number, lift.aux[number].clamp(-0.99, 0.99) if smooth else lift.aux[number]
            )
    return lift


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_energy(case, penalty):
    """Against finite differences of the energy, in the parameters."""
    lift = disturbed(case, penalty=penalty)
    with torch.no_grad():
        for number, layer in enumerate(lift.network.layers):
            x, affine = lift.layer_input(number), layer.affine
            grads = affine.gradients(x, lift.residual(number) / lift.samples)
            for parameter, grad in zip(affine.parameters, grads, strict=True):
                move = 1e-6 * torch.randn_like(parameter)
                values = []
                for sign in (1, -2):
                    parameter.add_(move, alpha=sign)
                    lift.parameters_changed(number)
                    values.append(energy(lift).total)
                parameter.add_(move)
                lift.parameters_changed(number)
                expected = (values[0] - values[1]) / 2
                torch.testing.assert_close((grad * move).sum(), expected, rtol=1e-4, atol=1e-11)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("case", CASES)
def test_gradients_in_variables_are_those_of_the_energy(case, penalty):
    """Inside the domains: kernel', the anchor from below and the smooth part from above."""
    lift = disturbed(case, penalty=penalty)
    network = lift.network
    for number, layer in enumerate(network.layers[:-1]):
        x = lift.aux[number]
        leaf = x.clone().requires_grad_()
        kernel = network.penalty.kernel(layer.activation)
        (slope,) = torch.autograd.grad(kernel._finite_kernel(leaf).sum(), leaf)
        with torch.no_grad():
            anchor = network.penalty.anchor(layer.activation, lift.preactivation(number))
            weight = network.lam[number] * network.penalty.scale
            gradient = (weight * (slope - anchor) + lift.gradient(number)) / lift.samples
            move = 1e-6 * torch.randn_like(x)
            values = []
            for sign in (1, -1):
                lift.set_aux(number, x + sign * move)
                values.append(energy(lift).total)
            lift.set_aux(number, x)
            expected = (values[0] - values[1]) / 2
            torch.testing.assert_close((gradient * move).sum(), expected, rtol=1e-4, atol=1e-11)


@pytest.mark.parametrize("form", ["prox", "mirror"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("case", CASES)
def test_energy_never_rises(case, penalty, form):
    lift = disturbed(case, penalty=penalty)
    if form == "mirror":  # duals that belong to the disturbed variables do not exist: start afresh
        network, (x, y) = CASES[case](lam=2.0, penalty=penalty)
        lift = Lift(network, x, y)
    with torch.no_grad():
        last = energy(lift).total
        for _ in range(4):
            for number in reversed(range(len(lift.aux))):
                bound = lipschitz(lift, number)
                kappa = relaxation(lift, number, bound, 1.0, form)
                AuxiliaryBlock(lift, number, form).step(kappa)
                now = energy(lift).total
                assert now <= last + 1e-12
                last = now
            fit_parameters(lift, 2, rho=0.0, scale=1.7)
            now = energy(lift).total
            assert now <= last + 1e-12
            last = now


@pytest.mark.parametrize("regulariser", [None, L1Regulariser(0.05)])
@pytest.mark.parametrize("case", [*CASES, "soft"])
def test_mirror_and_prox_steps_reach_the_same_point(case, regulariser):
    """They also agree with the optimality condition, where there is no regulariser."""
    terms = {2: regulariser} if regulariser else None
    points = []
    for form in ("prox", "mirror"):
        torch.manual_seed(3)
        if case == "soft":
            modules = nn.Sequential(
                nn.Linear(5, 6), SoftThreshold(0.1), nn.Linear(6, 4), SoftThreshold(0.1),
                nn.Linear(4, 3),
            )  # fmt: skip
            network, (x, y) = LiftedNetwork(modules.double(), regularisers=terms), data(9, 5, 3)
        else:
            network, (x, y) = CASES[case](regularisers=terms)
        with torch.no_grad():
            lift = Lift(network, x, y)
            sweep_auxiliary(lift, 400, scale=1.0, form=form, numbers=[1])
            points.append(lift.aux[1])
            if regulariser is None:
                optimal = network.layers[1].activation(lift.preactivation(1) - lift.gradient(1))
                torch.testing.assert_close(lift.aux[1], optimal, rtol=0, atol=1e-8)
    torch.testing.assert_close(points[0], points[1], rtol=0, atol=1e-7)


def test_iterative_regulariser_keeps_the_minimiser_and_starts_sparse():
    """Linearised Bregman in x: the plain minimiser in the end, on a path through sparser points."""
    x, y = data(9, 5, 3)
    network = perceptron(5, 6, 4, 3, activation=nn.Tanh)
    twin = LiftedNetwork(
        nn.Sequential(*network.children()),
        regularisers={1: L1Regulariser(0.3, mode="iterative")},
    )
    with torch.no_grad():
        plain, biased = Lift(network, x, y), Lift(twin, x, y)
        sweep_auxiliary(plain, 500, scale=1.0, form="mirror")
        biased.dual[0] = torch.zeros_like(biased.dual[0])
        sweep_auxiliary(biased, 1, scale=1.0)
        assert (biased.aux[0] == 0).double().mean() > 0.2
        sweep_auxiliary(biased, 3000, scale=1.0)
    torch.testing.assert_close(plain.aux[0], biased.aux[0], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="iterative regulariser"):
        sweep_auxiliary(biased, 1, scale=1.0, form="prox")


@pytest.mark.parametrize("rho", [0.0, 0.7])
@pytest.mark.parametrize("bias", [True, False])
def test_gram_form_equals_direct_form(rho, bias):
    """With the step size given, 1e-10; the two only bound the norm differently."""
    results = []
    for form in (GramBlock, DirectBlock):
        torch.manual_seed(1)
        modules = nn.Sequential(nn.Linear(20, 4, bias=bias), nn.ReLU(), nn.Linear(4, 3)).double()
        network = LiftedNetwork(modules, lam=3.0)
        x, y = data(7, 20, 3)
        with torch.no_grad():
            lift = Lift(network, x, y)
            lift.set_aux(0, lift.aux[0] + torch.rand_like(lift.aux[0]))
            block = form(lift, 0, rho=rho, scale=1.5)
            if isinstance(block, GramBlock):
                size = block._rate * lift.samples
            else:
                block._size = size  # pyright: ignore[reportPossiblyUnboundVariable]
            block.run(15)
            block.finish()
            z = network.layers[0].affine.forward(x)
            torch.testing.assert_close(lift.preactivation(0), z)
        results.append([p.detach() for p in network.parameters()])
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-10)


def test_identity_everywhere_is_linear_least_squares():
    modules = nn.Sequential(nn.Linear(5, 3)).double()
    network = LiftedNetwork(modules)
    x, y = data(40, 5, 3)
    with torch.no_grad():
        fit_parameters(Lift(network, x, y), 2000, rho=0.0, scale=1.0)
    ones = torch.cat([x, torch.ones(40, 1, dtype=x.dtype)], 1)
    best = torch.linalg.lstsq(ones, y).solution
    torch.testing.assert_close(modules[0].weight.T, best[:-1], rtol=0, atol=1e-9)
    torch.testing.assert_close(modules[0].bias, best[-1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
def test_large_weights_give_the_gradient_of_back_propagation(activation):
    """At the minimiser in X, the gradient in Theta tends to that of the ordinary loss."""
    network = perceptron(5, 6, 4, 3, activation=activation, lam=1e5)
    x, y = data(9, 5, 3)
    ((network(x) - y).square().sum(1).mean() / 2).backward()
    with torch.no_grad():
        lift = Lift(network, x, y)
        sweep_auxiliary(lift, 600, scale=1.0)
        for number, layer in enumerate(network.layers):
            residual = lift.residual(number) / lift.samples
            grads = layer.affine.gradients(lift.layer_input(number), residual)
            for parameter, grad in zip(layer.affine.parameters, grads, strict=True):
                assert parameter.grad is not None
                torch.testing.assert_close(grad, parameter.grad, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("form", [GramBlock, DirectBlock])
@pytest.mark.parametrize("penalty", ["bregman", "classical", "mac"])
def test_steps_in_one_run_are_the_steps_one_by_one(form, penalty):
    """A run looks things up once and must still see its own steps, to the last bit."""
    found = []
    for runs in ((6,), (1,) * 6, (2, 4)):
        torch.manual_seed(0)
        network = perceptron(6, 5, 4, 3, lam=2.5, penalty=penalty)
        with torch.no_grad():
            lift = Lift(network, *data(7, 6, 3))
            lift.set_aux(0, lift.aux[0] + 1)
            block = form(lift, 0, rho=0.3, scale=1.5)
            for steps in runs:
                block.run(steps)
            block.finish()
            found.append([lift.preactivation(0), *network.parameters()])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
