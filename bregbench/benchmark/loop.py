"""The whole training loop of the 784-200-80-10 perceptron, data and all, against the same loop with SGD."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer

from bregbench.benchmark.rows import Row
from bregbench.benchmark.sides import LAM, NETWORKS, OURS, YARDSTICKS
from bregbench.benchmark.timing import interleave, median_milliseconds, median_ratio
from bregman import penalize

SAMPLES, BATCH, ITERATIONS = 12_800, 128, 50
GOAL = 1.10


def loop_rows(*, rounds: int) -> Iterator[Row]:
    """Time per iteration with each optimiser, as a multiple of the loop with fused SGD-momentum."""
    images = torch.randint(256, (SAMPLES, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(10, (SAMPLES,))
    loops = {}
    for name in ("S", "A", *OURS):
        model = NETWORKS["mlp"].build()
        loops[name] = training_loop(model, _optimizer(name, model), images, labels)
    seconds = interleave(loops, rounds=rounds, repeats=1)
    titles = {"S": "S: fused SGD with momentum", "A": "A: fused Adam"}
    for name in loops:
        yield Row(
            "mlp, whole training loop",
            titles.get(name, f"{name}, l1"),
            median_ratio(seconds, name, "S"),
            "x S",
            GOAL if name in OURS else None,
            milliseconds=median_milliseconds(seconds, name) / ITERATIONS,
        )


def training_loop(
    model: nn.Module,
    optimizer: Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    penalty: Callable[[], torch.Tensor] | None = None,
) -> Callable[[], None]:
    """A function that trains for `ITERATIONS` steps on preloaded uint8 images.

    Args:
        model: returns logits.
        optimizer: of its parameters.
        images: uint8, at least `ITERATIONS` batches of them.
        labels: theirs.
        penalty: added to the loss of every batch.
    """

    def run() -> None:
        order = torch.randperm(len(images))
        total = torch.zeros(())
        for step in range(ITERATIONS):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            inputs = images.index_select(0, chosen).float().div_(255.0)
            loss = functional.cross_entropy(model(inputs), labels.index_select(0, chosen))
            objective = loss if penalty is None else loss + penalty()
            optimizer.zero_grad()
            objective.backward()
            optimizer.step()
            total += loss.detach()

    return run


def _optimizer(name: str, model: nn.Module) -> Optimizer:
    if name in YARDSTICKS:
        return YARDSTICKS[name](list(model.parameters()))
    return OURS[name](penalize(model, lam=LAM))
