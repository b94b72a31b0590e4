"""What all solvers share: a step on a batch, a learning-rate factor, checkpoints, divergence."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bregman.validation import check_positive
from lifted.lift import Lift
from lifted.network import LiftedNetwork

#: a loss this many times the first one counts as divergence
GROWTH_LIMIT = 1e4


class DivergenceError(RuntimeError):
    """Training has blown up: the loss is not finite, or far above where it started."""


class StepResult(NamedTuple):
    """One step: the forward loss and outputs of the batch before it, both on the device.

    Attributes:
        loss: Mean Bregman loss of the network's outputs.
        outputs: What `network(inputs)` would have returned.
    """

    loss: Tensor
    outputs: Tensor


class Solver(ABC):
    """Trains a `LiftedNetwork` in place.

    Args:
        network: The network; its parameters are written in place.

    Attributes:
        observers: Called with the lift of every batch once it is solved, for energies and the like.
    """

    def __init__(self, network: LiftedNetwork) -> None:
        self.network = network
        self.observers: list[Callable[[Lift], None]] = []
        self._factor = 1.0
        self._first: Tensor | None = None
        self._worst: Tensor | None = None

    @torch.no_grad()
    def step(self, inputs: Tensor, targets: Tensor, indices: Tensor | None = None) -> StepResult:
        """One step on a batch; no look at the host.

        Args:
            inputs: x_0, (samples, ...).
            targets: y, the shape of the outputs, in the domain of the loss.
            indices: Which samples of the training set these are, for solvers that store auxiliary
                variables; others ignore it.

        Raises:
            ValueError: The batch is empty.
        """
        check_batch(inputs)
        lift = Lift(self.network, inputs, targets)
        loss = forward_loss(lift)
        self._watch(loss)
        self._update(lift, indices)
        for observer in self.observers:
            observer(lift)
        return StepResult(loss, lift.outputs)

    @abstractmethod
    def _update(self, lift: Lift, indices: Tensor | None) -> None:
        """Change the parameters; the lift holds a fresh forward pass."""

    def scale_lr(self, factor: float) -> None:
        """Set the learning rate to `factor` times its configured value; rho is divided by it.

        Raises:
            ValueError: The factor is not positive.
        """
        check_positive("factor", factor)
        self._factor = float(factor)

    def mean_over_processes(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes that train this network: one, usually."""
        return value

    def notes(self) -> list[str]:
        """What a reader of the results must know; usually nothing."""
        return []

    def check(self) -> None:
        """Raise DivergenceError if training has blown up.

        Reads one number from the device: meant for the end of an epoch.
        """
        if self._worst is None or self._first is None:
            return
        worst, first = float(self._worst), float(self._first)
        if not math.isfinite(worst) or worst > GROWTH_LIMIT * (1 + first):
            raise DivergenceError(
                f"loss rose from {first:g} to {worst:g} (smaller steps: lower step_scale or lr, or "
                "raise rho; infinite from the start: targets outside the domain of the loss)"
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything but the network's own state; tensors and numbers."""
        return {"factor": self._factor, "first": self._first, "worst": self._worst}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._factor = state["factor"]
        self._first, self._worst = state["first"], state["worst"]

    def _watch(self, loss: Tensor) -> None:
        """Keep the largest loss; a maximum with NaN stays NaN."""
        if self._worst is None:
            self._first = self._worst = loss.clone()
        else:
            self._worst = torch.maximum(self._worst, loss)


def forward_loss(lift: Lift) -> Tensor:
    """The mean loss of the network's outputs, for a lift that is a fresh forward pass."""
    activation = lift.network.layers[-1].activation
    return activation.bregman_loss(lift.targets, lift.preactivation(lift.network.depth - 1)).mean()


def check_batch(inputs: Tensor) -> None:
    """Raise ValueError for an empty batch: a mean over no samples has no gradient."""
    if len(inputs) == 0:
        raise ValueError("Invalid batch: 0 samples (must hold at least one; leave it out)")


def check_step_scale(value: float) -> None:
    """Raise ValueError unless 0 < value < 2, the range in which a single block descends."""
    check_positive("step_scale", value)
    if value >= 2:
        raise ValueError(f"Invalid step_scale: {value!r} (must be in (0, 2))")
