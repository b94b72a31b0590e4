"""Further adaptive optimisers of torch: baselines of DessiLBI's Table 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from bregbench.checks import require
from bregbench.context import RunContext
from bregbench.methods.optimizers import OptimizerConfig


@dataclass
class Adagrad(OptimizerConfig):
    """Steps divided by the root of the sum of all squared gradients (Duchi et al., 2011)."""

    kind: ClassVar[str] = "adagrad"
    lr: float = 1e-2
    lr_decay: float = 0.0
    initial: float = 0.0
    eps: float = 1e-10
    weight_decay: float = 0.0

    def check(self) -> None:
        super().check()
        require(self.initial >= 0, "method.initial", self.initial, "at least 0")

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return torch.optim.Adagrad(
            network.parameters(),
            lr=self.lr,
            lr_decay=self.lr_decay,
            initial_accumulator_value=self.initial,
            eps=self.eps,
            weight_decay=self.weight_decay,
        )


@dataclass
class Radam(OptimizerConfig):
    """Adam whose variance correction waits until it is defined (Liu et al., 2020)."""

    kind: ClassVar[str] = "radam"
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return torch.optim.RAdam(
            network.parameters(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            decoupled_weight_decay=self.decoupled_weight_decay,
        )
