"""Base class of the solvers: a step on a batch, a learning-rate factor, checkpoints, divergence."""

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

#: A loss above this number times (1 + first loss) counts as divergence.
GROWTH_LIMIT = 1e4


class DivergenceError(RuntimeError):
    """Training has diverged: the loss is not finite, or far above the first loss."""


class StepResult(NamedTuple):
    """Loss and outputs of the forward pass of a batch before the step, both on the device.

    Attributes:
        loss: Mean Bregman loss of the network's outputs.
        outputs: `network(inputs)` with the parameters before the step.
    """

    loss: Tensor
    outputs: Tensor


class Solver(ABC):
    """Trains a `LiftedNetwork` in place.

    Args:
        network: The network; its parameters are written in place.

    Attributes:
        observers: Functions that are called with the lift of every batch after the step.
    """

    def __init__(self, network: LiftedNetwork) -> None:
        self.network = network
        self.observers: list[Callable[[Lift], None]] = []
        self._factor = 1.0
        self._first: Tensor | None = None
        self._worst: Tensor | None = None

    @torch.no_grad()
    def step(self, inputs: Tensor, targets: Tensor, indices: Tensor | None = None) -> StepResult:
        """Take one step on a batch, without host synchronisation.

        Args:
            inputs: x_0, (samples, ...).
            targets: y, the shape of the outputs, in the domain of the loss.
            indices: Indices of the batch's samples in the training set. Solvers that store auxiliary
                variables need them, other solvers ignore them.

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
        """Set the learning rate to `factor` times its configured value; rho is divided by `factor`.

        Raises:
            ValueError: The factor is not positive.
        """
        check_positive("factor", factor)
        self._factor = float(factor)

    def mean_over_processes(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes that train this network; the tensor for one process."""
        return value

    def notes(self) -> list[str]:
        """Sentences that a reader of the results must know; usually none."""
        return []

    def check(self) -> None:
        """Raise DivergenceError if training has diverged.

        The host waits for two numbers from the device: call it at the end of an epoch.
        """
        if self._worst is None or self._first is None:
            return
        worst, first = float(self._worst), float(self._first)
        if not math.isfinite(worst) or worst > GROWTH_LIMIT * (1 + first):
            raise DivergenceError(
                f"loss rose from {first:g} to {worst:g} (take smaller steps: lower step_scale or lr, or "
                "raise rho; an infinite first loss: targets are outside the domain of the loss)"
            )

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers that the solver keeps between steps, without the network's state."""
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
    """The mean loss over the batch, for a lift that holds a fresh forward pass; a scalar."""
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
