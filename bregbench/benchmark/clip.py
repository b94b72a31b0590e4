"""Training with CLIP against plain training: the whole loop of a small perceptron, data and all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.optim import SGD

from bregbench.benchmark.loop import ITERATIONS, SAMPLES, training_loop
from bregbench.benchmark.rows import Row
from bregbench.benchmark.timing import interleave, median_milliseconds, median_ratio
from bregbench.models import Activation, Mlp
from clip import Ascent, LipschitzPenalty, NoisyData, PairSet, difference_quotients

PAIRS, PER_STEP, LAM = 500, 32, 0.1
GOAL = 3.0
SECTION = f"784-64-64-10, CLIP with {PAIRS} pairs"


def lipschitz_rows(*, rounds: int) -> Iterator[Row]:
    """Time per iteration of CLIP, and of the published scheme, as multiples of plain training."""
    images = torch.randint(256, (SAMPLES, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(10, (SAMPLES,))
    printed = Ascent(accept=False, adapt="none")
    sides = {
        "plain": lambda model: None,
        f"CLIP, {PER_STEP} pairs a step": lambda model: _clip(model, Ascent(), PER_STEP),
        f"CLIP, {PER_STEP} pairs a step, every move taken (Algorithm 1 as printed)": (
            lambda model: _clip(model, printed, PER_STEP)
        ),
        "CLIP, all pairs in every step": lambda model: _clip(model, Ascent(), None),
        "the published scheme": _published_scheme,
    }
    loops = {name: _loop(build, images, labels) for name, build in sides.items()}
    seconds = interleave(loops, rounds=rounds, repeats=1)
    for index, name in enumerate(loops):
        yield Row(
            SECTION,
            name,
            median_ratio(seconds, name, "plain"),
            "x plain",
            GOAL if index in (1, 2) else None,
            milliseconds=median_milliseconds(seconds, name) / ITERATIONS,
        )


def _loop(
    build: Callable[[nn.Module], Callable[[], Tensor] | None], images: Tensor, labels: Tensor
) -> Callable[[], None]:
    config = Mlp(hidden=[64, 64], activation=Activation.sigmoid)
    model = config.build(input_shape=(1, 28, 28), classes=10)
    optimizer = SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)
    return training_loop(model, optimizer, images, labels, penalty=build(model))


def _pairs() -> PairSet:
    return PairSet(NoisyData(torch.rand(PAIRS, 1, 28, 28)))


def _clip(model: nn.Module, ascent: Ascent, per_step: int | None) -> Callable[[], Tensor]:
    penalty = LipschitzPenalty(model, _pairs(), ascent=ascent, pairs_per_step=per_step)
    return lambda: LAM * penalty()


def _published_scheme(model: nn.Module) -> Callable[[], Tensor]:
    """What the published code does in a step: three forward and one backward pass over all pairs.

    One pass to ascend from, one to see which pairs to move, one for the penalty, which differentiates
    the best pair through the pass over all.
    """
    pairs = _pairs()

    def penalty() -> Tensor:
        points = pairs.points.detach().requires_grad_()
        before = difference_quotients(model, points).square()
        (gradients,) = torch.autograd.grad(before.sum(), points)
        moved = (points + gradients).detach()
        with torch.no_grad():
            better = difference_quotients(model, moved).square() > before
        pairs.points = torch.where(better.reshape(-1, 1, 1, 1, 1), moved, points.detach())
        return LAM * difference_quotients(model, pairs.points).square().max()

    return penalty
