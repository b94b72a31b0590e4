"""Coarse steps on scattered weights: sparse linear layers against dense ones, and cycles of a perceptron."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from bregbench.benchmark.rows import Row
from bregbench.benchmark.timing import interleave, median_milliseconds, median_ratio
from bregbench.models import Mlp
from bregman import LinBreg, initialize_biases, penalize
from dessilbi import ShrunkTraining
from dessilbi.sparse_linear import Pattern, SparseLinear

BATCH, SHAPE, CLASSES = 128, (1, 28, 28), 10
WIDTHS = (784, 1024)
DENSITIES = (0.1, 0.05, 0.02)
COARSE_STEPS = 9
#: so large that nothing enters while the clock runs
LAM, LEARNING_RATE = 10.0, 1e-3


def sparse_rows(
    *, rounds: int, inputs: tuple[int, ...] = WIDTHS, width: int = 1024
) -> Iterator[Row]:
    """Time of sparse products as multiples of dense ones, and of cycles with them per ordinary step.

    Args:
        rounds: measurements per side.
        inputs: of the layers.
        width: outputs of the layers, and units of both hidden layers of the perceptron.
    """
    for count in inputs:
        section = f"Linear {count} to {width}, batch {BATCH}, forward and backward"
        yield from _products(section, count, width, rounds)
    yield from _cycles(width, rounds)


def _products(section: str, inputs: int, width: int, rounds: int) -> Iterator[Row]:
    images = torch.randn(BATCH, inputs, requires_grad=True)
    sides = {"dense": _pass(nn.Linear(inputs, width), images)}
    for density in DENSITIES:
        places = (torch.rand(width * inputs) < density).nonzero().flatten()
        layer = SparseLinear(
            nn.Parameter(torch.randn(len(places))),
            nn.Parameter(torch.zeros(width)),
            Pattern(places, (width, inputs)),
        )
        sides[_share(density)] = _pass(layer, images)
    yield from _rows(section, sides, "dense", "x dense", rounds, repeats=2)


def _pass(layer: nn.Module, images: Tensor) -> Callable[[], None]:
    def call() -> None:
        layer(images).sum().backward()

    return call


def _cycles(width: int, rounds: int) -> Iterator[Row]:
    section = f"MLP 784-{width}-{width}-10, LinBreg, cycle of 1 + {COARSE_STEPS} steps, per step"
    network = Mlp(hidden=[width, width]).build(input_shape=SHAPE, classes=CLASSES)
    initialize_biases(network)
    batch = torch.rand(BATCH, *SHAPE), torch.randint(CLASSES, (BATCH,))
    sides = {"ordinary": _cycle(network, batch, steps=0, sparse=0.0)}
    for density in DENSITIES:
        few = scattered(network, density)
        for share, kind in ((0.0, "dense"), (0.2, "sparse")):
            name = f"{_share(density)}, {kind} layers"
            sides[name] = _cycle(few, batch, steps=COARSE_STEPS, sparse=share)
    yield from _rows(
        section, sides, "ordinary", "x the whole network", rounds, repeats=1, steps=COARSE_STEPS + 1
    )


@torch.no_grad()
def scattered(network: nn.Module, density: float) -> nn.Module:
    """A copy in which this share of the weights of each linear layer is not zero."""
    twin = copy.deepcopy(network)
    for layer in twin.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.mul_(torch.rand_like(layer.weight) < density)
    return twin


def _cycle(
    network: nn.Module, batch: tuple[Tensor, Tensor], *, steps: int, sparse: float
) -> Callable[[], None]:
    twin = copy.deepcopy(network)
    optimizer = LinBreg(penalize(twin, lam=LAM), lr=LEARNING_RATE)
    shrunk = ShrunkTraining(
        twin, optimizer, coarse_steps=steps, example=batch[0][:2], sparse=sparse
    )

    def cycle() -> None:
        """As many steps on every side."""
        for _ in range(COARSE_STEPS + 1):
            now = shrunk.network
            shrunk.zero_grad()
            functional.cross_entropy(now(batch[0]), batch[1]).backward()
            shrunk.step()

    return cycle


def _rows(
    section: str,
    sides: dict[str, Callable[[], None]],
    base: str,
    unit: str,
    rounds: int,
    *,
    repeats: int,
    steps: int = 1,
) -> Iterator[Row]:
    seconds = interleave(sides, rounds=rounds, repeats=repeats)
    for name in sides:
        if name != base:
            ratio = median_ratio(seconds, name, base)
            yield Row(
                section, name, ratio, unit, milliseconds=median_milliseconds(seconds, name) / steps
            )


def _share(density: float) -> str:
    return f"{100 * density:g} % of the weights"
