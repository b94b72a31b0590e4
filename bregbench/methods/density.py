"""Control of the density: the rule that changes lam, the ramp of the density, and healing at the end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from torch.optim import Optimizer

from bregbench.foundations.errors import BenchError
from bregbench.foundations.ranges import check_counts, check_numbers
from bregbench.tasks.context import RunContext
from bregman import DensityTarget, GapControl, Healing, QuantileControl, Ramp
from bregman.density_control import nonzero_share
from bregman.optimizer import PenalisedOptimizer

LamControl = DensityTarget | QuantileControl | GapControl


class Rule(Enum):
    """Rule for lam: feedback on log density, the exact quantile of duals, or the published gap rule."""

    feedback = "feedback"
    quantile = "quantile"
    gap = "gap"


class RampKind(Enum):
    """Course of the wanted density from the initial density to the target."""

    constant = "constant"
    geometric = "geometric"
    cubic = "cubic"


@dataclass
class DensityConfig:
    """How `target_density` is reached.

    Attributes:
        rule: the rule that changes lam.
        ramp: course of the wanted density from that of the starting weights to the target.
        until: share of training after which the wanted density is the target, in [0, 1].
        interval: steps between two changes of lam; None: a quarter of an epoch.
        keep_values: with the rule `quantile`, whether weights that stay keep their values when lam changes.
        gain: gain of the rule `gap`, > 0.
        damping: damping of the rule `gap`, in (0, 1].
    """

    rule: Rule = Rule.feedback
    ramp: RampKind = RampKind.geometric
    until: float = 0.5
    interval: int | None = None
    keep_values: bool = False
    gain: float = 1.0
    damping: float = 0.95

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of these options, such as `method.density`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        check_numbers(self, at, "until", least=0, most=1)
        check_counts(self, at, "interval")
        check_numbers(self, at, "gain", above=0)
        check_numbers(self, at, "damping", above=0, most=1)

    def build(self, optimizer: Optimizer, target: float, context: RunContext) -> LamControl:
        """The rule for an optimiser.

        Raises:
            BenchError: the rule does not fit the optimiser.
        """
        assert isinstance(optimizer, PenalisedOptimizer)
        steps = context.epochs * context.steps_per_epoch
        interval = self.interval or max(context.steps_per_epoch // 4, 1)
        start = min(max(nonzero_share(optimizer), 1e-6), 1.0)
        ramp = Ramp(self.ramp.value, target, start=start, end=round(self.until * steps))
        own = self.ramp is not RampKind.geometric or self.until != 0.5
        try:
            match self.rule:
                case Rule.quantile:
                    keep = self.keep_values
                    return QuantileControl(optimizer, ramp, interval=interval, keep_values=keep)  # pyright: ignore[reportArgumentType]
                case Rule.gap:
                    gain, damping = self.gain, self.damping
                    return GapControl(
                        optimizer, ramp, interval=interval, gain=gain, damping=damping
                    )
                case Rule.feedback:
                    course = ramp if own else None
                    return DensityTarget(
                        optimizer, target=target, steps=steps, interval=interval, ramp=course
                    )
        except ValueError as error:
            raise BenchError(f"method.density.rule={self.rule.name}: {error}") from error


@dataclass
class HealingConfig:
    """The end of training with a frozen support (see `bregman.Healing`).

    Attributes:
        epochs: number of last epochs with a frozen support; 0 for none.
        debias: whether these epochs train without the penalty.
    """

    epochs: int = 0
    debias: bool = False

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range; see `DensityConfig.check`."""
        check_counts(self, at, "epochs", least=0)

    def build(self, optimizer: Optimizer, context: RunContext) -> Healing | None:
        """The healing of an optimiser; None for 0 epochs.

        Raises:
            BenchError: the phase has fewer epochs.
        """
        if not self.epochs:
            return None
        if self.epochs > context.epochs:
            raise BenchError(
                f"method.healing.epochs={self.epochs} is out of range: "
                f"method.healing.epochs must be at most {context.epochs}, the epochs of this phase"
            )
        start = (context.epochs - self.epochs) * context.steps_per_epoch
        return Healing(optimizer, start, debias=self.debias)
