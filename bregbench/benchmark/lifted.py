"""An epoch of lifted training of the 784-64-64-10 perceptron against one of back-propagation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import nn

from bregbench.benchmark.rows import Row
from bregbench.benchmark.timing import interleave, median_milliseconds, median_ratio
from lifted import ImplicitStochastic, LiftedNetwork
from lifted.activation import sum_features

#: steps per measurement stand for an epoch: both sides take equally many
BATCH, STEPS, ITERATIONS = 100, 20, 15
GOALS: dict[str, float | None] = {"alternating": 10.0, "layer": None, "sweep": None}


def lifted_rows(*, rounds: int) -> Iterator[Row]:
    """Time per batch of each order of Algorithm 1, as a multiple of plain SGD on the same loss."""
    chain = nn.Sequential(
        *(nn.Linear(784, 64), nn.ReLU()), *(nn.Linear(64, 64), nn.ReLU()), nn.Linear(64, 10)
    )
    inputs = torch.rand(STEPS, BATCH, 784)
    targets = nn.functional.one_hot(torch.randint(10, (STEPS, BATCH)), 10).float()
    loops = {"SGD-BP": _back_propagation(copy.deepcopy(chain), inputs, targets)}
    loops |= {order: _lifted(copy.deepcopy(chain), order, inputs, targets) for order in GOALS}
    seconds = interleave(loops, rounds=rounds, repeats=1)
    for name in loops:
        yield Row(
            f"784-64-64-10, lifted, N = {ITERATIONS}",
            name if name == "SGD-BP" else f"implicit stochastic, {name}",
            median_ratio(seconds, name, "SGD-BP"),
            "x SGD-BP",
            GOALS.get(name),
            milliseconds=median_milliseconds(seconds, name) / STEPS,
        )


def _back_propagation(
    chain: nn.Sequential, inputs: torch.Tensor, targets: torch.Tensor
) -> Callable[[], None]:
    optimizer = torch.optim.SGD(chain.parameters(), lr=1e-3, fused=True)

    def run() -> None:
        for x, y in zip(inputs, targets, strict=True):
            loss = sum_features((chain(x) - y).square()).mean() / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def _lifted(
    chain: nn.Sequential, order: str, inputs: torch.Tensor, targets: torch.Tensor
) -> Callable[[], None]:
    network = LiftedNetwork(chain, lam=10.0)
    solver = ImplicitStochastic(network, rho=1.0, iterations=ITERATIONS, order=order)

    def run() -> None:
        for x, y in zip(inputs, targets, strict=True):
            solver.step(x, y)

    return run
