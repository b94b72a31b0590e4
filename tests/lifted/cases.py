"""Activations, small networks and data that several tests share."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from lifted import Identity, LiftedNetwork, ReLU, Residual, Sigmoid, Softmax, SoftThreshold, Tanh
from lifted.activation import Activation

ACTIVATIONS: dict[str, Activation] = {
    "identity": Identity(),
    "relu": ReLU(),
    "soft": SoftThreshold(0.5),
    "tanh": Tanh(),
    "softmax": Softmax(),
    "sigmoid": Sigmoid(),
}


def feasible_point(activation: Activation, *shape: int, scale: float = 1.5) -> Tensor:
    """A random point of dom Psi that is the activation of nothing in particular."""
    if isinstance(activation, Softmax):
        return torch.rand(*shape, dtype=torch.float64).softmax(activation.dim)
    return activation.project(scale * torch.randn(*shape, dtype=torch.float64)) * 0.95


def chain(*sizes: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """A double precision perceptron with these widths, linear at the end."""
    modules: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes[:-1]):
        modules += [nn.Linear(before, after), activation()]
    modules.append(nn.Linear(sizes[-2], sizes[-1]))
    return nn.Sequential(*modules).double()


def perceptron(*sizes: int, activation: type[nn.Module] = nn.ReLU, **settings) -> LiftedNetwork:
    return LiftedNetwork(chain(*sizes, activation=activation), **settings)


def residual_network(**settings) -> LiftedNetwork:
    """Plain, plus-residual, minus-residual and plain layers."""
    modules = nn.Sequential(
        nn.Linear(5, 6),
        nn.ReLU(),
        Residual(nn.Linear(6, 6), nn.Tanh()),
        Residual(nn.Linear(6, 6), nn.ReLU(), sign=-1),
        nn.Linear(6, 3),
    )
    return LiftedNetwork(modules.double(), **settings)


def convolutional_network(**settings) -> LiftedNetwork:
    modules = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4, 2),
    )
    return LiftedNetwork(modules.double(), **settings)


def data(samples: int, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Random inputs and smooth non-linear targets."""
    x = torch.randn(samples, inputs, dtype=torch.float64)
    mix = torch.randn(inputs, outputs, dtype=torch.float64)
    return x, torch.sin(x @ mix)


def images(samples: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(samples, 1, 8, 8, dtype=torch.float64)
    return x, torch.stack([x.mean((1, 2, 3)), x.abs().mean((1, 2, 3))], 1)
