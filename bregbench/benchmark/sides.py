"""The optimisers that are compared, each on its own copy of a network's parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from bregbench.models import Cnn, Lenet5, Mlp, Resnet18
from bregbench.papers.dessilbi import ResnetCifar
from bregman import DEFAULT_RULES, AdaBreg, LinBreg, Rule, penalize

LEARNING_RATE = 1e-3
LAM = 1e-3

KERNEL_RULES = (
    Rule("l12", module=nn.Conv2d, name="*weight", group="kernel"),
    *DEFAULT_RULES,
)
RULES = {"l1": DEFAULT_RULES, "kernel": KERNEL_RULES}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

#: Yardsticks: torch's fused SGD with momentum ("S") and fused Adam ("A").
YARDSTICKS: dict[str, Callable[[Any], Optimizer]] = {
    "S": lambda params: SGD(params, lr=LEARNING_RATE, momentum=0.9, fused=True),
    "A": lambda params: Adam(params, lr=LEARNING_RATE, fused=True),
}
OURS: dict[str, Callable[[Any], Optimizer]] = {
    "LinBreg": lambda groups: LinBreg(groups, lr=LEARNING_RATE),
    "LinBreg momentum": lambda groups: LinBreg(groups, lr=LEARNING_RATE, momentum=0.9),
    "AdaBreg": lambda groups: AdaBreg(groups, lr=LEARNING_RATE),
}


@dataclass(frozen=True)
class Network:
    """A network to take parameters from, and how often to repeat a step within one measurement."""

    name: str
    build: Callable[[], nn.Module]
    repeats: int


NETWORKS = {
    "resnet18": Network(
        "resnet18", lambda: Resnet18().build(input_shape=(3, 32, 32), classes=10), 3
    ),
    "cnn": Network("cnn", lambda: Cnn().build(input_shape=(1, 28, 28), classes=10), 50),
    "mlp": Network("mlp", lambda: Mlp().build(input_shape=(1, 28, 28), classes=10), 50),
}
#: 62 and 270 thousand parameters in 10 and 59 tensors: calls cost as much as arithmetic
SMALL_NETWORKS = {
    "lenet5": Network("lenet5", lambda: Lenet5().build(input_shape=(1, 28, 28), classes=10), 50),
    "resnet20": Network(
        "resnet20", lambda: ResnetCifar().build(input_shape=(3, 32, 32), classes=10), 20
    ),
}


def yardstick(name: str, model: nn.Module) -> Optimizer:
    """One of torch's fused optimisers on a copy of the model, gradients filled in."""
    return YARDSTICKS[name](list(with_gradients(model).parameters()))


def ours(
    name: str, model: nn.Module, *, penalty: str = "l1", layout: str = "contiguous"
) -> Optimizer:
    """One of this project's optimisers on a copy of the model, gradients filled in."""
    return OURS[name](penalize(with_gradients(model, layout), RULES[penalty], lam=LAM))


def with_gradients(model: nn.Module, layout: str = "contiguous") -> nn.Module:
    """A copy of the model in the layout, with random gradients laid out like the parameters."""
    twin = copy.deepcopy(model).to(memory_format=LAYOUTS[layout])  # pyright: ignore[reportCallIssue]
    for param in twin.parameters():
        param.grad = 1e-2 * torch.randn_like(param)
    return twin
