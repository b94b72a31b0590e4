"""Networks and measurements that several tests of `clip` share."""

from __future__ import annotations

import torch
from torch import nn


def absolute_value() -> nn.Sequential:
    """|x| = relu(x) + relu(-x): Lipschitz constant 1, product of the layers' norms 2."""
    split, join = nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        split.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        join.weight.fill_(1.0)
    return nn.Sequential(split, nn.ReLU(), join)


def jacobian(model: nn.Module, point: torch.Tensor) -> torch.Tensor:
    """Full Jacobian at one input (without batch), outputs by inputs."""
    result = torch.autograd.functional.jacobian(lambda x: model(x[None])[0], point)
    assert isinstance(result, torch.Tensor)
    return result.reshape(-1, point.numel())


def norm(matrix: torch.Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, 2))


def randomize(model: nn.Module) -> nn.Module:
    """Give normalisation layers statistics and scales that are not one."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            assert module.running_var is not None
            nn.init.uniform_(module.running_var, 0.3, 2.0)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model


def class_means(count: int, side: int = 28, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Images near one of ten random ones, with its number as label; values in [0, 1]."""
    generator = torch.Generator().manual_seed(1)
    means = torch.rand(10, channels, side, side, generator=generator)
    labels = torch.randint(10, (count,), generator=generator)
    noise = torch.randn(count, channels, side, side, generator=generator)
    return (means[labels] + 0.3 * noise).clamp(0, 1), labels


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    model.zero_grad()
