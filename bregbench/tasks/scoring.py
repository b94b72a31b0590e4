"""Loss and scores of a network over samples, accumulated on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from bregbench.data import evaluation_batches
from bregbench.foundations.streams import Streams
from bregbench.tasks.base import TaskConfig
from bregbench.tasks.context import RunContext
from bregman.modules import evaluating

if TYPE_CHECKING:
    from bregbench.data import Split

#: Samples in one forward pass of an evaluation.
EVALUATION_BATCH = 1000


class Scores:
    """Running means of loss and scores, which are read once, so that steps never wait for the device."""

    def __init__(self, task: TaskConfig, device: torch.device) -> None:
        self._task = task
        self._sums: dict[str, torch.Tensor] = {}
        self._device = device
        # Apple's GPUs have no double precision.
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._count = 0

    def add(self, loss: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch, by its mean loss, outputs and targets."""
        size = len(targets)
        scores = self._task.scores(outputs, targets)
        for name, value in {"loss": loss.detach() * size, **scores}.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros((), dtype=self._dtype, device=self._device)
            self._sums[name] += value
        self._count += size

    def read(self, split: str) -> dict[str, float]:
        """Means so far, named `split/loss`, `split/accuracy` and so on; empty before any sample."""
        if not self._count:
            return {}
        names = list(self._sums)
        sums = torch.stack([self._sums[name] for name in names]).tolist()
        return {
            f"{split}/{name}": value / self._count for name, value in zip(names, sums, strict=True)
        }

    def state_dict(self) -> dict[str, object]:
        """Sums and count."""
        return {"sums": dict(self._sums), "count": self._count}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue where `state_dict` was taken."""
        sums, count = state["sums"], state["count"]
        assert isinstance(sums, dict)
        assert isinstance(count, int)
        self._sums = {name: value.to(self._device) for name, value in sums.items()}
        self._count = count


@torch.no_grad()
def score(network: nn.Module, split: Split, context: RunContext, name: str) -> dict[str, float]:
    """Loss and scores of a network in evaluation mode; the modes of its modules are restored.

    Random numbers of the task are the same for every network, epoch and seed.

    Args:
        network: network from images (batch, channels, height, width) in [0, 1] to outputs.
        split: the samples.
        context: task, precision and memory layout.
        name: prefix of the metrics, such as `validation`.
    """
    scores = Scores(context.task, context.device)
    generator = Streams(0).generator(f"task/{name}", context.device)
    with evaluating(network):
        for images, labels in evaluation_batches(split, EVALUATION_BATCH):
            inputs, targets = context.task.pose(images, labels, generator)
            with context.autocast():
                outputs = network(context.arrange(inputs))
                loss = context.task.loss(outputs, targets)
            scores.add(loss, outputs, targets)
    return scores.read(name)
