"""Every solver on every kind of network: it descends, resumes, and differentiates no activation."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from lifted import (
    LiftedNetwork,
    ReLU,
)
from tests.lifted.cases import data, images, perceptron
from tests.lifted.solver_cases import BASELINES, DENSE_ONLY, LIFTED, MAKE, NETWORKS, SAMPLES, run

PAIRS = [(network, solver) for network in NETWORKS for solver in LIFTED | BASELINES]
PAIRS += [("dense", "blocks-admm"), ("tanh", "blocks-admm"), ("sparse", "blocks-admm")]


@pytest.mark.parametrize(("network", "name"), PAIRS)
def test_loss_falls(network, name):
    """The classical penalty relaxes the loss so far that its network need not follow."""
    module, (x, y) = NETWORKS[network]()
    solver = MAKE[name](module)
    first = run(solver, x, y, 1)
    last = run(solver, x, y, 8)
    assert last < first or network == "classical"
    with torch.no_grad():
        outputs = module(x)
    torch.testing.assert_close(solver.step(x, y, torch.arange(SAMPLES)).outputs, outputs)


@pytest.mark.parametrize("name", [*LIFTED, *DENSE_ONLY])
def test_resumes_exactly(name):
    module, (x, y) = NETWORKS["dense"]()
    solver = MAKE[name](module)
    run(solver, x, y, 2)
    solver.scale_lr(0.5)
    weights, state = copy.deepcopy(module.state_dict()), copy.deepcopy(solver.state_dict())
    run(solver, x, y, 2)
    twin, _ = NETWORKS["dense"]()
    twin.load_state_dict(weights)
    other = MAKE[name](twin)
    other.load_state_dict(state)
    other.scale_lr(0.5)
    run(other, x, y, 2)
    torch.testing.assert_close(twin.state_dict(), module.state_dict(), rtol=0, atol=0)


class _Forbidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        return z.relu()

    @staticmethod
    def backward(ctx, *grads):
        raise AssertionError("an activation was differentiated")


class Watched(ReLU):
    def forward(self, z: Tensor) -> Tensor:
        return _Forbidden.apply(z)  # pyright: ignore[reportReturnType]


def watched(kind: str) -> tuple[LiftedNetwork, Tensor, Tensor]:
    if kind == "convolution":
        modules = nn.Sequential(
            nn.Conv2d(1, 3, 3), Watched(), nn.Flatten(), nn.Linear(108, 4), Watched(), nn.Linear(4, 2)
        )  # fmt: skip
        return LiftedNetwork(modules.double()), *images(SAMPLES)
    modules = nn.Sequential(
        nn.Linear(5, 6), Watched(), nn.Linear(6, 4), Watched(), nn.Linear(4, 3), Watched()
    )
    x, y = data(SAMPLES, 5, 3)
    return LiftedNetwork(modules.double()), x, y.abs()


@pytest.mark.parametrize("kind", ["dense", "convolution"])
@pytest.mark.parametrize("name", LIFTED)
def test_no_activation_is_ever_differentiated(name, kind):
    network, x, y = watched(kind)
    run(LIFTED[name](network), x, y, 2)


@pytest.mark.parametrize("name", DENSE_ONLY)
def test_no_activation_is_ever_differentiated_by_admm(name):
    network, x, y = watched("dense")
    run(DENSE_ONLY[name](network), x, y, 2)


@pytest.mark.parametrize("name", BASELINES)
def test_back_propagation_does_differentiate_them(name):
    """So the guard above works; MAC-QP is the one lifted penalty that trips it."""
    network, x, y = watched("dense")
    with pytest.raises(AssertionError, match="differentiated"):
        run(BASELINES[name](network), x, y, 1)
    network.penalty = perceptron(2, 2, 2, penalty="mac").penalty
    with pytest.raises(AssertionError, match="differentiated"):
        run(LIFTED["jacobi"](network), x, y, 2)


@pytest.mark.parametrize("name", [*LIFTED, *DENSE_ONLY, *BASELINES])
def test_empty_batches_are_refused_and_change_nothing(name):
    module, (x, y) = NETWORKS["dense"]()
    solver = MAKE[name](module)
    before = [param.detach().clone() for param in module.parameters()]
    with pytest.raises(ValueError, match="Invalid batch: 0 samples"):
        solver.step(x[:0], y[:0], torch.arange(0))
    solver.check()  # the loss of no samples is not taken for a divergence
    for old, param in zip(before, module.parameters(), strict=True):
        assert torch.equal(old, param)
