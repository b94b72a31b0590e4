"""Methods that follow gradients: torch's SGD and Adam, and the optimisers of `bregman`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

import bregman
from bregbench.checks import require
from bregbench.context import RunContext
from bregbench.cutting import Cut
from bregbench.errors import BenchError
from bregbench.methods.backprop import Backprop
from bregbench.methods.base import MethodConfig
from bregbench.methods.density_target import DensityTarget
from bregbench.methods.start import StartConfig, sparse_start
from bregbench.objectives import ObjectiveConfig
from bregbench.penalty import PenaltyConfig
from bregbench.streams import Streams


@dataclass
class OptimizerConfig(MethodConfig):
    """An optimiser and the weights that it starts from.

    Attributes:
        lr: learning rate.
        start: the weights that training starts from.
        cut: judge the trained network also without its small weights, as variant `thresholded`.
    """

    lr: float = 0.1
    start: StartConfig = field(default_factory=StartConfig)
    cut: Cut = field(default_factory=Cut)

    def check(self) -> None:
        """Refuse values out of range before anything is built."""
        require(self.lr >= 0, "method.lr", self.lr, "at least 0")
        self.cut.check("method.cut")

    def prepare(self, network: nn.Module, streams: Streams) -> None:
        """Set the starting weights."""
        self.start.apply(network, streams)

    def build(
        self, network: nn.Module, objective: ObjectiveConfig, context: RunContext
    ) -> Backprop:
        """The optimiser at work on the objective.

        Raises:
            BenchError: a value is out of range, or a penalty does not fit the network.
        """
        self.check()
        try:
            optimizer = self.optimizer(network, context)
        except ValueError as error:
            raise BenchError(f"method={self.kind}: {error}") from error
        return Backprop(
            network,
            optimizer,
            objective.build(network, context),
            context,
            density_target=self.density_target(optimizer, context),
            cut=self.cut,
        )

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        """The optimiser over all parameters of the network."""
        raise NotImplementedError

    def density_target(self, optimizer: Optimizer, context: RunContext) -> DensityTarget | None:
        """Feedback on lam, for methods that have it."""
        return None


@dataclass
class PenalizedConfig(OptimizerConfig):
    """An optimiser with a penalty lam J on weights.

    Attributes:
        lam: strength of the penalty.
        penalty: which functional on which weights.
        target_density: adjust lam during training towards this share of non-zero weights.
    """

    lam: float = 0.1
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    target_density: float | None = None

    def check(self) -> None:
        """Refuse values out of range before anything is built."""
        super().check()
        require(self.lam >= 0, "method.lam", self.lam, "at least 0")
        target = self.target_density
        require(target is None or 0 < target < 1, "method.target_density", target, "in (0, 1)")
        require(
            target is None or self.lam > 0,
            "method.lam",
            self.lam,
            "greater than 0 where method.target_density adjusts it",
        )

    def density_target(self, optimizer: Optimizer, context: RunContext) -> DensityTarget | None:
        """Feedback on lam, four times an epoch, where a density is wanted."""
        if self.target_density is None:
            return None
        return DensityTarget(
            optimizer,
            target=self.target_density,
            steps=context.epochs * context.steps_per_epoch,
            interval=context.steps_per_epoch // 4,
        )


@dataclass
class Sgd(OptimizerConfig):
    """Stochastic gradient descent, with heavy-ball or Nesterov momentum."""

    kind: ClassVar[str] = "sgd"
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

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
    """Adam; with `decoupled_weight_decay` AdamW, with `amsgrad` that of Reddi et al. (2018)."""

    kind: ClassVar[str] = "adam"
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    amsgrad: bool = False

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


@dataclass
class ProxSgd(PenalizedConfig):
    """Proximal gradient descent on the loss plus lam J (the Bregman paper's (1.5))."""

    kind: ClassVar[str] = "prox_sgd"
    lam: float = 1e-4
    momentum: float = 0.0

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        groups = self.penalty.groups(network, self.lam)
        return bregman.ProxSGD(groups, self.lr, momentum=self.momentum)


@dataclass
class LinBreg(PenalizedConfig):
    """Linearised Bregman iterations (Algorithm 1), with momentum Algorithm 2."""

    kind: ClassVar[str] = "linbreg"
    start: StartConfig = field(default_factory=sparse_start)
    momentum: float = 0.0
    delta: float = 1.0
    weight_decay: float = 0.0

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return bregman.LinBreg(
            self.penalty.groups(network, self.lam),
            self.lr,
            momentum=self.momentum,
            delta=self.delta,
            weight_decay=self.weight_decay,
        )


@dataclass
class AdaBreg(PenalizedConfig):
    """AdaBreg (Algorithm 3): Adam on the dual, and a proximal map back to the weights.

    `legacy_bias_correction` is the published code's behaviour before 2024.
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

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        return bregman.AdaBreg(
            self.penalty.groups(network, self.lam),
            self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            delta=self.delta,
            weight_decay=self.weight_decay,
            legacy_bias_correction=self.legacy_bias_correction,
        )


METHODS: tuple[type[MethodConfig], ...] = (Sgd, Adam, ProxSgd, LinBreg, AdaBreg)


def _fused(context: RunContext) -> bool | None:
    # torch's fused CPU kernels copy channels_last weights, which costs 3.5 times the step itself.
    if context.device.type == "cpu" and context.channels_last:
        return None
    return True
