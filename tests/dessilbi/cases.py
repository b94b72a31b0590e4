"""A small network with every kind of layer, its training, and convex problems with known answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bregman import penalize
from dessilbi import FILTER_RULES, DessiLBI

#: Settings under which a few steps select something; every option appears.
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "decay": {"momentum": 0.9, "weight_decay": 0.01},
    "decay-without-momentum": {"weight_decay": 0.01},
    "coupled": {"momentum": 0.9, "coupling_in_momentum": True, "weight_decay": 0.01},
    "coupled-without-momentum": {"coupling_in_momentum": True},
    "decoupled-decay": {"momentum": 0.9, "decoupled_weight_decay": True, "weight_decay": 0.01},
    "kappa": {"kappa": 3.0, "momentum": 0.5},
    "magnitude": {"scaling": "magnitude", "momentum": 0.9},
    "released": {"scaling": "released", "momentum": 0.9, "nu": 0.3, "lam": 0.002},
}


def network() -> Any:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    )


def build(model: nn.Module, settings: dict[str, Any], **options: Any) -> DessiLBI:
    chosen = {"lr": 0.1, "nu": 1.0, **settings, **options}
    lam = chosen.pop("lam", 0.1)
    return DessiLBI(penalize(model, FILTER_RULES, lam=lam), **chosen)


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(6, 2, 8, 8, generator=generator)
    return images, torch.randint(3, (6,), generator=generator)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, seeds) -> None:
    dtype = next(model.parameters()).dtype
    for seed in seeds:
        optimizer.zero_grad()
        images, labels = batch(seed)
        functional.cross_entropy(model(images.to(dtype)), labels).backward()
        optimizer.step()


def assert_identical(first: nn.Module, second: nn.Module) -> None:
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def quadratic_step(
    optimizer: torch.optim.Optimizer, param: Tensor, hessian: Tensor, target: Tensor
) -> None:
    """A step on `(W - target)^T H (W - target) / 2`, W flattened."""
    gradient = hessian @ (param.detach() - target).flatten()
    param.grad = gradient.view(param.shape)
    optimizer.step()
