"""A training step on the active units alone against one of the whole network, and a cycle of both."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bregbench.benchmark.memory import peak_bytes
from bregbench.benchmark.rows import Row
from bregbench.benchmark.sides import LEARNING_RATE
from bregbench.benchmark.timing import interleave, median_milliseconds, median_ratio
from bregbench.models import Cnn
from bregman import LinBreg, penalize
from dessilbi import ShrunkTraining

BATCH, SHAPE, CLASSES = 128, (1, 28, 28), 10
#: filters of both convolutions of the 64-64-128 network that are active
ACTIVE = ((32, 64), (14, 54), (16, 32), (8, 16))
COARSE_STEPS = 4
#: so large that nothing enters while the clock runs
LAM = 10.0
SECTION = "CNN 64-64-128, a training step of LinBreg"


def shrunk_rows(*, rounds: int, config: Cnn | None = None) -> Iterator[Row]:
    """Time of a coarse step, and per step of a whole cycle, as multiples of the ordinary step.

    Args:
        rounds: measurements per side.
        config: the network; that of the Bregman paper if None.
    """
    network = (config or Cnn()).build(input_shape=SHAPE, classes=CLASSES)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images = torch.rand(BATCH, *SHAPE).to(memory_format=torch.channels_last)
    batch = images, torch.randint(CLASSES, (BATCH,))
    sides: dict[str, Callable[[], None]] = {"ordinary": _ordinary(network, batch)}
    for active in ACTIVE:
        sides[f"{active}, coarse step"] = _coarse(sparse(network, active), batch)
        sides[f"{active}, cycle"] = _cycle(sparse(network, active), batch)
    seconds = interleave(sides, rounds=rounds, repeats=1)
    for active in ACTIVE:
        for kind, steps in (("coarse step", 1), ("cycle", COARSE_STEPS + 1)):
            name = f"{active}, {kind}"
            what = f"{active[0]} and {active[1]} filters active, {kind}"
            if kind == "cycle":
                what += f" of 1 + {COARSE_STEPS} steps, per step"
            yield Row(
                SECTION,
                what,
                median_ratio(seconds, name, "ordinary") / steps,
                "x the whole network",
                milliseconds=median_milliseconds(seconds, name) / steps,
            )
    whole = peak_bytes(sides["ordinary"])
    for active in ACTIVE:
        peak = peak_bytes(sides[f"{active}, coarse step"]) / whole
        what = f"{active[0]} and {active[1]} filters active, coarse step, peak memory"
        yield Row(SECTION, what, peak, "x the whole network")


@torch.no_grad()
def sparse(network: nn.Module, active: Sequence[int]) -> nn.Module:
    """A copy in which so many filters of each convolution are not zero, biases being zero."""
    twin = copy.deepcopy(network)
    layers = [layer for layer in twin.modules() if isinstance(layer, nn.Conv2d)]
    for layer, count in zip(layers, active, strict=True):
        layer.weight[count:] = 0.0
        assert layer.bias is not None
        layer.bias.zero_()
    return twin


def _ordinary(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Callable[[], None]:
    twin = copy.deepcopy(network)
    optimizer = _optimizer(twin)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(twin(batch[0]), batch[1]).backward()
        optimizer.step()

    return step


def _cycle(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Callable[[], None]:
    shrunk = _shrunk(network, batch, COARSE_STEPS)

    def cycle() -> None:
        for _ in range(COARSE_STEPS + 1):
            _step(shrunk, batch)

    return cycle


def _coarse(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Callable[[], None]:
    shrunk = _shrunk(network, batch, 10**9)
    _step(shrunk, batch)
    return lambda: _step(shrunk, batch)


def _shrunk(network: nn.Module, batch: tuple[Tensor, Tensor], steps: int) -> ShrunkTraining:
    return ShrunkTraining(network, _optimizer(network), coarse_steps=steps, example=batch[0][:2])


def _step(shrunk: ShrunkTraining, batch: tuple[Tensor, Tensor]) -> None:
    network = shrunk.network
    shrunk.zero_grad()
    functional.cross_entropy(network(batch[0]), batch[1]).backward()
    shrunk.step()


def _optimizer(network: nn.Module) -> LinBreg:
    return LinBreg(penalize(network, lam=LAM), lr=LEARNING_RATE)
