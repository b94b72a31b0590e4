"""What one phase of a run works with, made whole: network, method, schedule and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bregbench.methods import Method
from bregbench.methods.base import Resizing
from bregbench.methods.schedules import Schedule
from bregbench.methods.thresholds import Masks
from bregbench.phases.base import Phase
from bregbench.tasks.context import RunContext


@dataclass(frozen=True)
class Stage:
    """A phase at work.

    Attributes:
        phase: its config.
        method: what makes a step; its rates are scaled by the schedule from the start.
        schedule: of the learning rate.
        masks: weights that are held at zero, by parameter name.
        held: the masked parameters of the network, each with its mask.
    """

    phase: Phase
    method: Method
    schedule: Schedule
    masks: Masks
    held: list[tuple[nn.Parameter, torch.Tensor]]

    @classmethod
    def build(
        cls,
        phase: Phase,
        network: nn.Module,
        masks: Masks,
        context: RunContext,
        *,
        warmup: int = 0,
    ) -> Stage:
        """Make the method and the schedule of a phase for a network.

        Args:
            phase: its config.
            network: to be trained.
            masks: weights that are held at zero, by parameter name.
            context: of the run.
            warmup: epochs over which learning rates rise to those of the schedule.

        Raises:
            BenchError: the method or its penalty does not fit the network.
        """
        method = phase.method.build(network, phase.objective, context)
        schedule: Schedule = phase.schedule.build(phase.epochs, warmup=warmup)
        method.scale_lr(schedule.factor)
        parameters = dict(network.named_parameters())
        held = [(parameters[name], mask.to(parameters[name])) for name, mask in masks.items()]
        if held and isinstance(method, Resizing):
            method.train_in_full("masks hold weights at zero")
        return cls(phase, method, schedule, masks, held)

    @torch.no_grad()
    def hold_masks(self) -> None:
        """Set masked weights to zero again."""
        for parameter, mask in self.held:
            parameter.mul_(mask)

    def synchronise(self) -> None:
        """Make sure that the network holds all that was trained."""
        if isinstance(self.method, Resizing):
            self.method.synchronise()

    def end_epoch(self, metrics: dict[str, float]) -> None:
        """Let the schedule see an epoch, and scale the method's rates by what it says."""
        self.schedule.end_epoch(metrics)
        self.method.scale_lr(self.schedule.factor)

    def state_dict(self) -> dict[str, Any]:
        """State of method and schedule, and the masks."""
        return {
            "masks": self.masks,
            "method": self.method.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; the masks are those it was built with."""
        self.method.load_state_dict(state["method"])
        self.schedule.load_state_dict(state["schedule"])
