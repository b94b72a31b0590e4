"""The bench's networks in float64 with non-trivial norm statistics, and random choices of filters."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bregbench.models import Cnn, Lenet5, Resnet18
from bregman.layers import weight_layers

SHAPES = {"cnn": (1, 28, 28), "lenet5": (1, 28, 28), "resnet": (3, 16, 16)}
CONFIGS = {
    "cnn": Cnn(channels=[8, 6], hidden=[12]),
    "lenet5": Lenet5(),
    "resnet": Resnet18(width=6),
}


def build(name: str) -> Any:
    torch.manual_seed(0)
    model: nn.Module = CONFIGS[name].build(input_shape=SHAPES[name], classes=10).double()
    randomise_norms(model)
    return model


def randomise_norms(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, _BatchNorm):
            for tensor in (*layer.parameters(), layer.running_mean, layer.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)


def example(name: str, count: int = 3) -> torch.Tensor:
    return torch.randn(count, *SHAPES[name], dtype=torch.float64)


def random_filters(model: nn.Module, share: float = 0.5, linear: bool = True):
    """Some filters of every layer but the last; at least one."""
    names: list[tuple[str, int]] = [
        (name, weight.shape[0])
        for name, layer, weight in weight_layers(model)
        if linear or not isinstance(layer, nn.Linear)
    ]
    masks = {}
    for name, count in names if not linear else names[:-1]:
        masks[name] = torch.rand(count) < share
        masks[name][-1] = True
    return masks


def outputs(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(images)
