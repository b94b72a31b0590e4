"""Proximal gradient descent, LinBreg and AdaBreg as methods of the bench."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn
from torch.optim import Optimizer

import bregman
from bregbench.foundations.ranges import check_numbers
from bregbench.methods.optimizer import DualConfig, PenalizedConfig
from bregbench.methods.start import StartConfig, sparse_start
from bregbench.tasks.context import RunContext


@dataclass
class ProxSgd(PenalizedConfig):
    """Proximal gradient descent on the loss plus lam J (the Bregman paper's (1.5))."""

    kind: ClassVar[str] = "prox_sgd"
    lam: float = 1e-4
    momentum: float = 0.0

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "momentum", least=0, below=1)

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        groups = self.penalty.groups(network, self.lam)
        return bregman.ProxSGD(groups, self.lr, momentum=self.momentum)


@dataclass
class ProxAdam(PenalizedConfig):
    """Adam on the loss plus lam |w|_1, with the prox in Adam's own metric (see `bregman.ProxAdam`)."""

    kind: ClassVar[str] = "prox_adam"
    lr: float = 1e-3
    lam: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "beta1", "beta2", least=0, below=1)
        check_numbers(self, at, "eps", "weight_decay", least=0)

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return bregman.ProxAdam(
            self.penalty.groups(network, self.lam),
            self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
        )


@dataclass
class LinBreg(DualConfig):
    """Linearised Bregman iterations (Algorithm 1), with momentum Algorithm 2."""

    kind: ClassVar[str] = "linbreg"
    start: StartConfig = field(default_factory=sparse_start)
    momentum: float = 0.0
    delta: float = 1.0
    weight_decay: float = 0.0

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "momentum", least=0, below=1)
        check_numbers(self, at, "delta", above=0)
        check_numbers(self, at, "weight_decay", least=0)

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return bregman.LinBreg(
            self.penalty.groups(network, self.lam),
            self.lr,
            momentum=self.momentum,
            delta=self.delta,
            weight_decay=self.weight_decay,
        )


@dataclass
class AdaBreg(DualConfig):
    """AdaBreg (Algorithm 3): Adam on the dual, and a proximal map back to the weights.

    `legacy_bias_correction` is the behaviour of the published code before 2024. `dual_leak` and `birth_lr`
    hold back births without evidence (see `bregman.births`).
    """

    kind: ClassVar[str] = "adabreg"
    lr: float = 1e-3
    lam: float = 0.5
    start: StartConfig = field(default_factory=sparse_start)
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    delta: float = 1.0
    weight_decay: float = 0.0
    legacy_bias_correction: bool = False
    dual_leak: float = 0.0
    birth_lr: float | None = None

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "beta1", "beta2", least=0, below=1)
        check_numbers(self, at, "eps", "weight_decay", "dual_leak", "birth_lr", least=0)
        check_numbers(self, at, "delta", above=0)

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return bregman.AdaBreg(
            self.penalty.groups(network, self.lam),
            self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            delta=self.delta,
            weight_decay=self.weight_decay,
            legacy_bias_correction=self.legacy_bias_correction,
            dual_leak=self.dual_leak,
            birth_lr=self.birth_lr,
        )
