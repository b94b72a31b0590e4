"""Shrunk training on the bench: when which steps train the network of the active units alone."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from time import perf_counter, process_time
from typing import Any

import torch
from torch import nn

from bregbench.data.loader import to_unit_interval
from bregbench.foundations.console import say
from bregbench.foundations.ranges import MOST, check_counts, check_numbers
from bregbench.measures.layers import weight_layers
from bregbench.methods.trials import Trial
from bregbench.tasks.context import RunContext
from bregman.dual import DualOptimizer
from dessilbi import ShrunkTraining, coarse_steps_at

#: images on which the network is tried
_EXAMPLE = 2


class Mode(StrEnum):
    """Whether a run shrinks: `auto` does where its own steps, timed as it trains, say that it pays."""

    never = "never"
    always = "always"
    auto = "auto"


@dataclass
class ShrinkConfig:
    """Steps on the network of the active units alone (`dessilbi.ShrunkTraining`).

    Attributes:
        mode: whether. What `auto` decides depends on the machine; the metrics and notes of the run say it.
        coarse_steps: steps on the smaller network after each one on the whole network, at most.
        growing: begin with 1 and let their number plus one double every epoch.
        begin: epochs in full before, in which the support forms.
        last: epochs in full at the end.
        weight: how many times as far a full step moves the duals of what missed coarse steps.
        sparse: linear layers with penalty l1 of which at most this share of the kept weights is not zero
            are multiplied in sparse form in coarse steps, on a CPU; 0 for none.
    """

    mode: Mode = Mode.never
    coarse_steps: int = 4
    growing: bool = True
    begin: int = 1
    last: int = 1
    weight: float = 5.0
    sparse: float = 0.0

    def check(self, at: str) -> None:
        """Refuse values out of range.

        Args:
            at: key of these options, such as `method.shrink`.

        Raises:
            BenchError: names the key, the value and what is allowed.
        """
        check_counts(self, at, "coarse_steps", "begin", "last", least=0, most=MOST)
        check_numbers(self, at, "weight", least=0)
        check_numbers(self, at, "sparse", least=0, most=1)

    def build(
        self, network: nn.Module, optimizer: DualOptimizer, context: RunContext, *, healing: int
    ) -> Shrinking | None:
        """Shrunk training at work; None where it is never wanted.

        Args:
            network: on its device, in its memory layout.
            optimizer: of its parameters.
            context: of the phase.
            healing: last epochs in which the support is frozen; they are in full.
        """
        if self.mode is Mode.never:
            return None
        images = context.arrange(to_unit_interval(context.data.train.images[:_EXAMPLE]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # said in the run's own way
            shrunk = ShrunkTraining(
                network, optimizer, weight=self.weight, example=images, sparse=self.sparse
            )
        shrinking = Shrinking(shrunk, self, context, last=max(self.last, healing))
        if shrunk.reason is not None:
            shrinking.train_in_full(shrunk.reason)
        return shrinking

    def steps_at(self, epoch: int, epochs: int, last: int) -> int:
        """Coarse steps after a full one in an epoch, from 0."""
        if epoch < self.begin or epoch >= epochs - last:
            return 0
        if not self.growing:
            return self.coarse_steps
        return coarse_steps_at(epoch - self.begin + 1, self.coarse_steps)


class Shrinking:
    """Takes the place of the optimiser in a method's step.

    Args:
        shrunk: shrunk training of the method's network.
        config: when to shrink.
        context: of the phase.
        last: epochs in full at the end.

    Attributes:
        at_work: the network that the latest step has trained.
    """

    def __init__(
        self, shrunk: ShrunkTraining, config: ShrinkConfig, context: RunContext, *, last: int
    ) -> None:
        self._shrunk = shrunk
        self._config = config
        self._context = context
        self._last = last
        self._whole = shrunk.network
        self.at_work = self._whole
        self._taken = 0
        self._refusal: str | None = None
        self._trial = Trial()
        self._wanted = 0  # coarse steps after a full one, by the schedule
        self._started = 0.0
        self._used: list[int] = []  # epochs of the phase that ended with coarse steps, from 1
        self._widths: dict[str, int] = {}
        self._clock: Callable[[], float] = lambda: process_time()
        if context.device.type == "cuda":
            self._clock = self._synchronised

    def train_in_full(self, reason: str) -> None:
        """Leave nothing out from now on, and say so."""
        if self._refusal is None:
            self._refusal = reason
            say(f"note: {self._note()}")
        self._wanted = 0
        self.restart()

    @property
    def network(self) -> nn.Module:
        """The network that the next step trains; its time begins."""
        if self._taken % self._context.steps_per_epoch == 0:
            self._begin_epoch(self._taken // self._context.steps_per_epoch)
        if self._trial.on:
            self._started = self._clock()
        self.at_work = self._shrunk.network
        return self.at_work

    def zero_grad(self) -> None:
        """Forget gradients."""
        self._shrunk.zero_grad()

    def step(self) -> None:
        """One step on `network`."""
        self._shrunk.step()
        self._taken += 1
        if self.at_work is not self._whole:
            self._note_widths()
        if self._trial.on:
            self._go_on_trying(self._clock() - self._started)

    def synchronise(self) -> None:
        """Write weights and state back."""
        self._shrunk.synchronise()

    def restart(self) -> None:
        """Write back, and let the next step be one of the whole network."""
        self._shrunk.restart()
        self._shrunk.coarse_steps = self._wanted
        self._trial.seconds = []

    @property
    def coarse(self) -> bool:
        """Whether the latest step was one of a smaller network."""
        return self.at_work is not self._whole

    def end_epoch(self) -> dict[str, float]:
        """What the epoch's cycles trained, and what they took where that was measured."""
        found = {f"units_at_work/{name}": float(width) for name, width in self._widths.items()}
        if self._widths and self._wanted and not self._trial.on:
            self._used.append(-(-self._taken // self._context.steps_per_epoch))
        self._widths = {}
        if self._trial.ratio is not None:
            found["cost/cycle_time"] = self._trial.ratio
        return found

    def notes(self) -> list[str]:
        """Why nothing was left out, or in which epochs something was."""
        if self._refusal is not None:
            return [self._note()]
        if self._config.mode is not Mode.auto:
            return []
        taken, ratio = len(self._used), self._trial.ratio
        which = f" ({self._used[0]} to {self._used[-1]})" if taken else ""
        measured = (
            "" if ratio is None else f"; a step of a cycle took {ratio:.2f} ordinary ones at last"
        )
        return [f"method.shrink.mode=auto: taken up in {taken} epochs{which}{measured}"]

    def state_dict(self) -> dict[str, Any]:
        """Position in cycle, schedule and trial; writes back first."""
        return {
            "shrunk": self._shrunk.state_dict(),
            "taken": self._taken,
            "refusal": self._refusal,
            "trial": copy.deepcopy(vars(self._trial)),
            "wanted": self._wanted,
            "used": list(self._used),
            "widths": dict(self._widths),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._shrunk.load_state_dict(state["shrunk"])
        self._taken = state["taken"]
        self._refusal = state["refusal"]
        self._trial = Trial(**copy.deepcopy(state["trial"]))
        self._wanted, self._used = state["wanted"], list(state["used"])
        self._widths = dict(state["widths"])

    def _begin_epoch(self, epoch: int) -> None:
        self._wanted = self._config.steps_at(epoch, self._context.epochs, self._last)
        if self._refusal is not None:
            self._wanted = 0
        if self._wanted and self._config.mode is Mode.auto and not self._trial.due():
            self._wanted = 0
        if self._wanted == 0 or self._trial.on:
            self.restart()
        self._shrunk.coarse_steps = self._wanted

    def _go_on_trying(self, seconds: float) -> None:
        """Take the time of a step, and say what the next full step is followed by."""
        trial = self._trial
        trial.add(seconds, self._wanted)
        if trial.over:
            self._wanted = self._wanted if trial.decide() else 0
        self._shrunk.coarse_steps = 0 if trial.seconds else self._wanted

    def _note_widths(self) -> None:
        for name, layer in weight_layers(self.at_work).items():
            outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
            self._widths[name] = outputs

    def _note(self) -> str:
        mode = self._config.mode
        return f"method.shrink.mode={mode}: the network is trained in full: {self._refusal}"

    def _synchronised(self) -> float:
        torch.cuda.synchronize(self._context.device)
        return perf_counter()
