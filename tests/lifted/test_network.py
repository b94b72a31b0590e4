"""A lifted network is an ordinary module, and says so when it cannot be one."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from lifted import Identity, L1Regulariser, Lift, LiftedNetwork, ReLU, Residual, Softmax, energy
from tests.lifted.cases import (
    chain,
    convolutional_network,
    data,
    images,
    perceptron,
    residual_network,
)


def test_forward_and_state_dict_are_those_of_the_chain():
    modules = chain(4, 6, 5, 2, activation=nn.Tanh)
    network = LiftedNetwork(modules)
    x, _ = data(3, 4, 2)
    torch.testing.assert_close(network(x), modules(x))
    assert list(network.state_dict()) == list(modules.state_dict())
    fresh = chain(4, 6, 5, 2, activation=nn.Tanh)
    fresh.load_state_dict(network.state_dict())
    torch.testing.assert_close(fresh(x), network(x))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_own_their_layers(duplicate):
    network = perceptron(4, 6, 2)
    twin = duplicate(network)
    with torch.no_grad():
        twin.layers[0].affine.parameters[0].zero_()
    assert twin.get_parameter("0.weight").abs().max() == 0
    assert network.get_parameter("0.weight").abs().max() > 0


def test_exports():
    network = perceptron(4, 6, 2)
    x, _ = data(3, 4, 2)
    program = torch.export.export(network, (x,))
    torch.testing.assert_close(program.module()(x), network(x))


@pytest.mark.parametrize(
    ("network", "batch"),
    [
        (perceptron(5, 6, 3), data(7, 5, 3)),
        (residual_network(), data(7, 5, 3)),
        (convolutional_network(), images(7)),
    ],
    ids=["dense", "residual", "convolution"],
)
def test_forward_pass_has_only_the_loss(network, batch):
    x, y = batch
    with torch.no_grad():
        lift = Lift(network, x, y)
        terms = energy(lift)
    torch.testing.assert_close(lift.outputs, network(x).detach())
    torch.testing.assert_close(terms.penalties, torch.zeros_like(terms.penalties))
    expected = (network(x).detach() - y).square().sum(1).mean() / 2
    torch.testing.assert_close(terms.total, expected)


def test_final_activation_belongs_to_the_loss():
    modules = nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1)).double()
    network = LiftedNetwork(modules)
    x, _ = data(5, 4, 3)
    y = nn.functional.one_hot(torch.arange(5) % 3, 3).double()
    lift = Lift(network, x, y)
    torch.testing.assert_close(lift.outputs, modules(x))
    expected = nn.functional.cross_entropy(modules[0](x), y)
    torch.testing.assert_close(energy(lift).total, expected)
    logits = LiftedNetwork(modules[:1], loss=Softmax())
    torch.testing.assert_close(energy(Lift(logits, x, y)).total, expected)
    torch.testing.assert_close(logits(x), modules[0](x))


def test_energy_weighs_its_terms():
    network = perceptron(4, 6, 5, 2, lam=[2.0, 3.0], regularisers={2: L1Regulariser(0.5)})
    x, y = data(7, 4, 2)
    lift = Lift(network, x, y)
    lift.set_aux(0, lift.aux[0] + 1)
    terms = energy(lift)
    l1 = 0.5 * lift.aux[1].abs().sum(1).mean()
    total = terms.loss + 2 * terms.penalties[0] + 3 * terms.penalties[1] + l1
    torch.testing.assert_close(terms.total, total)
    assert (terms.penalties > 0).all()


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([nn.Linear(2, 2), nn.GELU()], "no lifted form of GELU"),
        ([nn.Linear(2, 2), nn.BatchNorm1d(2)], "no lifted form of BatchNorm1d"),
        ([nn.Linear(2, 2), nn.Linear(2, 2)], "found Linear, Linear"),
        ([nn.ReLU(), nn.Linear(2, 2)], "found nothing"),
        ([nn.Linear(2, 2), nn.ReLU(), Residual(nn.Linear(2, 2), nn.ReLU())], "must end with"),
        ([nn.Linear(2, 2), Residual(nn.Linear(2, 2), nn.ReLU())], "must follow an activation"),
        ([nn.Linear(2, 2), nn.Softmax()], "dim=None"),
        ([], "must end with"),
    ],
)
def test_refuses_what_has_no_lifted_form(modules, message):
    with pytest.raises(ValueError, match=message):
        LiftedNetwork(nn.Sequential(*modules))


def test_refuses_bad_settings():
    shared = nn.Linear(3, 3)
    with pytest.raises(ValueError, match="share parameters"):
        LiftedNetwork(nn.Sequential(shared, nn.ReLU(), shared))
    with pytest.raises(ValueError, match="must end with"):
        LiftedNetwork(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), loss=Identity())
    with pytest.raises(ValueError, match="Invalid lam"):
        perceptron(2, 2, 2, lam=0.0)
    with pytest.raises(ValueError, match="one number or 1 of them"):
        perceptron(2, 2, 2, lam=[1.0, 2.0])
    with pytest.raises(ValueError, match="Invalid layer: 2"):
        perceptron(2, 2, 2, regularisers={2: L1Regulariser(1.0)})
    with pytest.raises(ValueError, match="Invalid penalty"):
        perceptron(2, 2, 2, penalty="quadratic")
    with pytest.raises(ValueError, match="Invalid mode"):
        L1Regulariser(1.0, mode="both")
    with pytest.raises(ValueError, match="Invalid sign"):
        Residual(nn.Linear(2, 2), ReLU(), sign=2)
    with pytest.raises(ValueError, match="outside the domain"):
        LiftedNetwork(nn.Sequential(nn.Linear(2, 2), nn.ReLU())).check_targets(-torch.ones(1, 2))
    with pytest.raises(ValueError, match="one-hot"):
        Softmax().bregman_loss(torch.zeros(3), torch.zeros(3, 2))
