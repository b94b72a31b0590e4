"""Networks, pairs and a training loop that tests of Lipschitz training share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from clip import GivenPairs, PairSet


def smooth_network(inputs: int = 4, outputs: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs)).double()


def random_pairs(count: int = 6, inputs: int = 4, **settings) -> PairSet:
    return PairSet(GivenPairs(torch.randn(count, 2, inputs, dtype=torch.float64)), **settings)


def gradients(total: torch.Tensor, model: nn.Module) -> list[torch.Tensor]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return list(torch.autograd.grad(total, parameters, retain_graph=True))


def batches(count: int, inputs: int = 4, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(5)
    for _ in range(count):
        images = torch.rand(10, inputs, generator=generator, dtype=dtype)
        yield images, (3 * images[:, 0]).long().clamp(max=2)


def fit(objective, model: nn.Module, optimizer, data) -> None:
    """The loop of the documentation."""
    for inputs, targets in data:
        found = objective(inputs, targets)
        optimizer.zero_grad()
        found.total.backward()
        optimizer.step()


def fit_plainly(model: nn.Module, optimizer, data) -> None:
    for inputs, targets in data:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()


def state(model: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
