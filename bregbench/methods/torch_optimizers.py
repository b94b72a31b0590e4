"""The optimisers of torch: SGD, Adam, RAdam and Adagrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from bregbench.foundations.errors import require
from bregbench.foundations.ranges import check_numbers
from bregbench.methods.optimizer import OptimizerConfig, _fused
from bregbench.tasks.context import RunContext


@dataclass
class Adagrad(OptimizerConfig):
    """Steps divided by the root of the sum of all squared gradients (Duchi et al., 2011)."""

    kind: ClassVar[str] = "adagrad"
    lr: float = 1e-2
    lr_decay: float = 0.0
    initial: float = 0.0
    eps: float = 1e-10
    weight_decay: float = 0.0

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "lr_decay", "initial", "eps", "weight_decay", least=0)

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

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "beta1", "beta2", least=0, below=1)
        check_numbers(self, at, "eps", "weight_decay", least=0)

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return torch.optim.RAdam(
            network.parameters(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            decoupled_weight_decay=self.decoupled_weight_decay,
        )


@dataclass
class Sgd(OptimizerConfig):
    """Stochastic gradient descent, with heavy-ball or Nesterov momentum."""

    kind: ClassVar[str] = "sgd"
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "momentum", least=0, below=1)
        check_numbers(self, at, "dampening", least=0, most=1)
        check_numbers(self, at, "weight_decay", least=0)
        require(
            not self.nesterov or (self.momentum > 0 and self.dampening == 0),
            f"{at}.nesterov",
            self.nesterov,
            f"false without {at}.momentum, and with {at}.dampening",
        )

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return torch.optim.SGD(
            network.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            dampening=self.dampening,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=_fused(context),
        )


@dataclass
class Adam(OptimizerConfig):
    """Adam; with `decoupled_weight_decay` AdamW, with `amsgrad` AMSGrad (Reddi et al., 2018)."""

    kind: ClassVar[str] = "adam"
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    amsgrad: bool = False

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "beta1", "beta2", least=0, below=1)
        check_numbers(self, at, "eps", "weight_decay", least=0)

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return torch.optim.Adam(
            network.parameters(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            decoupled_weight_decay=self.decoupled_weight_decay,
            amsgrad=self.amsgrad,
            fused=_fused(context),
        )
