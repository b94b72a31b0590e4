"""Metrics from the forward pass of a lifted network after an epoch, on the first images of a split."""

from __future__ import annotations

import torch

import lifted
from bregbench.data.loader import evaluation_batches
from bregbench.data.split import Split
from bregbench.foundations.streams import Streams
from bregbench.papers.lifted.chain import Chain
from bregbench.tasks.context import RunContext

#: number of images of a split in the forward pass after every epoch
LOOKED_AT = 1000


def looked_at(
    chain: Chain, split: Split, context: RunContext, name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """x_0 and y of the first images of a split; each call draws equal random numbers for the task."""
    some = Split(split.images[:LOOKED_AT], split.labels[:LOOKED_AT])
    ((images, labels),) = evaluation_batches(some, LOOKED_AT)
    generator = Streams(0).generator(f"task/lifted/{name}", context.device)
    inputs, targets = context.task.pose(images, labels, generator)
    return chain.inputs(context.arrange(inputs)), chain.targets(targets)


@torch.no_grad()
def forward_metrics(chain: Chain, split: Split, context: RunContext, name: str) -> dict[str, float]:
    """Loss, objective, share of linear units and zeros of the codes, for the first images of a split."""
    lift = lifted.Lift(chain.network, *looked_at(chain, split, context, name))
    terms = lifted.energy(lift)
    found = {"lifted/loss": terms.loss, "lifted/objective": terms.loss + terms.regulariser}
    for number in range(chain.network.depth):
        share = (lift.preactivation(number) >= 0).float().mean()
        found[f"lifted/linear_units/layer{number + 1}"] = share
    for number, code in enumerate(lift.aux, start=1):
        found[f"lifted/code_sparsity/layer{number}"] = (code == 0).float().mean()
    values = torch.stack(list(found.values())).tolist()
    return dict(zip(found, values, strict=True))
