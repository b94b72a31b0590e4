"""Bases of the configs of methods that follow gradients with an optimiser of torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn
from torch.optim import Optimizer

from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import check_counts, check_numbers
from bregbench.foundations.streams import Streams
from bregbench.methods.backprop import Backprop
from bregbench.methods.base import MethodConfig
from bregbench.methods.density import DensityConfig, HealingConfig, LamControl
from bregbench.methods.shrinking import Mode, ShrinkConfig, Shrinking
from bregbench.methods.start import StartConfig
from bregbench.methods.thresholds import Cut
from bregbench.objectives import ObjectiveConfig
from bregbench.objectives.penalty import PenaltyConfig
from bregbench.tasks.context import RunContext
from bregman import Healing
from bregman.dual import DualOptimizer


@dataclass
class OptimizerConfig(MethodConfig):
    """An optimiser and the weights that it starts from.

    Attributes:
        lr: learning rate.
        start: the weights that training starts from.
        cut: choice of small weights; the variant `thresholded` is the trained network without them.
        recalibrate: number of training images for new norm statistics of `thresholded`; 0 for the old
            statistics.
    """

    variants: ClassVar[tuple[str, ...]] = ("trained", "thresholded")
    lr: float = 0.1
    start: StartConfig = field(default_factory=StartConfig)
    cut: Cut = field(default_factory=Cut)
    recalibrate: int = 0

    def check(self, at: str) -> None:
        """See `MethodConfig.check`."""
        check_numbers(self, at, "lr", least=0)
        check_counts(self, at, "recalibrate", least=0)

    def prepare(self, network: nn.Module, streams: Streams) -> None:
        """Set the starting weights."""
        self.start.apply(network, streams)

    def build(
        self, network: nn.Module, objective: ObjectiveConfig, context: RunContext
    ) -> Backprop:
        """Back-propagation with this optimiser and the objective.

        Raises:
            BenchError: a penalty does not fit the network.
        """
        try:
            optimizer = self.optimizer(network, context)
        except ValueError as error:
            raise BenchError(f"method={self.kind}: {error}") from error
        shrinking = self.shrunk(network, optimizer, context)
        if shrinking is not None and (reason := _unfit(objective, context)):
            shrinking.train_in_full(reason)
        return Backprop(
            network,
            optimizer,
            objective.build(network, context),
            context,
            density_target=self.density_target(optimizer, context),
            healing=self.healed(optimizer, context),
            cut=self.cut,
            recalibrate=self.recalibrate,
            shrinking=shrinking,
        )

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        """The optimiser over all parameters of the network."""
        raise NotImplementedError

    def cuts(self, network: nn.Module) -> dict[str, Callable[[], nn.Module]]:
        """The variants that the trained weights alone give, by name, each as what makes a cut copy."""
        return {"thresholded": lambda: self.cut.applied(network)} if self.cut.active else {}

    def density_target(self, optimizer: Optimizer, context: RunContext) -> LamControl | None:
        """The rule that steers lam to a target density; None for methods without such a rule."""
        return None

    def healed(self, optimizer: Optimizer, context: RunContext) -> Healing | None:
        """The healing that freezes the support at the end; None for methods without healing."""
        return None

    def shrunk(
        self, network: nn.Module, optimizer: Optimizer, context: RunContext
    ) -> Shrinking | None:
        """What trains the active units alone between full steps, for methods that have it."""
        return None


@dataclass
class PenalizedConfig(OptimizerConfig):
    """An optimiser with a penalty lam J on weights.

    Attributes:
        lam: strength of the penalty.
        penalty: the penalties of the weights.
        target_density: share of non-zero weights to which lam is steered during training; None keeps lam.
        density: how lam is steered to the target density.
        healing: last epochs with a frozen support.
    """

    lam: float = 0.1
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    target_density: float | None = None
    density: DensityConfig = field(default_factory=DensityConfig)
    healing: HealingConfig = field(default_factory=HealingConfig)

    def check(self, at: str) -> None:
        """See `MethodConfig.check`."""
        super().check(at)
        check_numbers(self, at, "lam", least=0)
        check_numbers(self, at, "target_density", above=0, below=1)
        require(
            self.target_density is None or self.lam > 0,
            f"{at}.lam",
            self.lam,
            f"greater than 0 where {at}.target_density adjusts it",
        )

    def paced(self) -> str | None:
        """See `MethodConfig.paced`."""
        if self.target_density is not None:
            return "target_density"
        return "healing.epochs" if self.healing.epochs else None

    def density_target(self, optimizer: Optimizer, context: RunContext) -> LamControl | None:
        """The rule that steers lam to the target density; None without a target."""
        if self.target_density is None:
            return None
        return self.density.build(optimizer, self.target_density, context)

    def healed(self, optimizer: Optimizer, context: RunContext) -> Healing | None:
        """The healing that freezes the support at the end; None for 0 epochs."""
        return self.healing.build(optimizer, context)


@dataclass
class DualConfig(PenalizedConfig):
    """An optimiser with duals, which can train the network of the active units alone.

    Attributes:
        shrink: when it does.
    """

    shrink: ShrinkConfig = field(default_factory=ShrinkConfig)

    @property
    def shrinks(self) -> bool:
        """Whether its steps may train a smaller network in the place of the whole one."""
        return self.shrink.mode is not Mode.never

    def shrunk(
        self, network: nn.Module, optimizer: Optimizer, context: RunContext
    ) -> Shrinking | None:
        """Shrunk training, where it is asked for."""
        assert isinstance(optimizer, DualOptimizer)
        return self.shrink.build(network, optimizer, context, healing=self.healing.epochs)


def _unfit(objective: ObjectiveConfig, context: RunContext) -> str:
    """Why no smaller network can be trained; empty where one can."""
    if objective.kind != "plain":
        return f"objective={objective.kind} looks at the whole network"
    return "trainer.compile=true compiles the whole network" if context.compile else ""


def _fused(context: RunContext) -> bool | None:
    if context.device.type not in ("cpu", "cuda"):
        return None
    # torch's fused CPU kernels copy channels_last weights, which costs 3.5 times the step itself.
    if context.device.type == "cpu" and context.channels_last:
        return None
    return True
