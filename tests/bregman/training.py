"""A small network with every kind of layer, and a few steps of training."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from bregman import DEFAULT_RULES, ProxAdam, Rule, penalize
from tests.bregman.cases import OptimizerCase

KERNELS = [Rule("l12", module=nn.Conv2d, name="*weight", group="kernel"), *DEFAULT_RULES]


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    )


def grouped(model: nn.Module, case: OptimizerCase) -> list[dict]:
    return penalize(model, None if case.cls is ProxAdam else KERNELS, lam=0.02)


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(6, 1, 8, 8, generator=generator)
    return images, torch.randint(3, (6,), generator=generator)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, seeds) -> None:
    for seed in seeds:
        optimizer.zero_grad()
        images, labels = batch(seed)
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [param.detach().clone() for param in model.parameters()]


def assert_identical(first: nn.Module, second: nn.Module) -> None:
    for a, b in zip(weights(first), weights(second), strict=True):
        assert torch.equal(a, b)
