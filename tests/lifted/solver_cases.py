"""Every solver with settings under which it descends, and the networks to try it on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bregman import LinBreg, penalize
from lifted import (
    BackPropagation,
    BlockCoordinate,
    ExplicitImplicit,
    ImplicitStochastic,
    L1Regulariser,
    LiftedNetwork,
    ProximalGradient,
    StoredStochastic,
)
from lifted.solver import Solver
from tests.lifted.cases import convolutional_network, data, images, perceptron, residual_network

SAMPLES = 24
LIFTED: dict[str, Callable[[LiftedNetwork], Solver]] = {
    "layer": lambda n: ImplicitStochastic(n, rho=0.1, order="layer"),
    "sweep": lambda n: ImplicitStochastic(n, rho=0.1, order="sweep"),
    "alternating": lambda n: ImplicitStochastic(n, rho=0.1, order="alternating"),
    "mirror": lambda n: ImplicitStochastic(n, rho=0.1, x_step="mirror"),
    "stored": lambda n: StoredStochastic(n, samples=SAMPLES, rho=0.1, iterations=5),
    "stored-alternating": lambda n: StoredStochastic(n, samples=SAMPLES, sweep="gauss_seidel"),
    "gauss-seidel": lambda n: ProximalGradient(n),
    "jacobi": lambda n: ProximalGradient(n, sweep="jacobi", step_scale=0.5),
    "nesterov": lambda n: ProximalGradient(n, acceleration="nesterov"),
    "heavy-ball": lambda n: ProximalGradient(n, acceleration="heavy_ball"),
    "jacobi-nesterov": lambda n: ProximalGradient(
        n, sweep="jacobi", acceleration="nesterov", step_scale=0.5
    ),
    "blocks": lambda n: BlockCoordinate(n),
    "blocks-each": lambda n: BlockCoordinate(n, blocks="each"),
    "blocks-explicit": lambda n: BlockCoordinate(n, parameter_steps=1, auxiliary_steps=1),
    "explicit-parameters": lambda n: ExplicitImplicit(n, rho=0.1),
    "explicit-auxiliary": lambda n: ExplicitImplicit(n, explicit="auxiliary", rho=0.1),
    "linbreg": lambda n: ExplicitImplicit(n, optimizer=LinBreg(penalize(n, lam=0.01), lr=0.1)),
}
DENSE_ONLY = {"blocks-admm": lambda n: BlockCoordinate(n, inner="admm", delta=0.5)}
BASELINES = {
    "sgd-bp": lambda n: BackPropagation(n, lr=0.1),
    "isgd-bp": lambda n: BackPropagation(n, lr=0.1, iterations=5, rho=0.1),
}
NETWORKS = {
    "dense": lambda: (perceptron(5, 8, 7, 3), data(SAMPLES, 5, 3)),
    "tanh": lambda: (perceptron(5, 8, 7, 3, activation=nn.Tanh), data(SAMPLES, 5, 3)),
    "residual": lambda: (residual_network(), data(SAMPLES, 5, 3)),
    "convolution": lambda: (convolutional_network(), images(SAMPLES)),
    "sparse": lambda: (
        perceptron(5, 8, 7, 3, regularisers={2: L1Regulariser(0.02)}),
        data(SAMPLES, 5, 3),
    ),
    "classical": lambda: (perceptron(5, 8, 7, 3, penalty="classical"), data(SAMPLES, 5, 3)),
    "mac": lambda: (perceptron(5, 8, 7, 3, penalty="mac"), data(SAMPLES, 5, 3)),
}
MAKE = LIFTED | DENSE_ONLY | BASELINES


def run(solver: Solver, x: Tensor, y: Tensor, steps: int) -> Tensor:
    indices = torch.arange(SAMPLES)
    for _ in range(steps):
        result = solver.step(x, y, indices)
    solver.check()
    return result.loss  # pyright: ignore[reportPossiblyUnboundVariable]
