"""The discrepancy rule: a weight rises while the network is accurate enough, and falls otherwise."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bregman.validation import check_choice, check_non_negative
from clip.choices import Scale


class Discrepancy:
    """Line (iii) of Algorithm 2: if A(f) > alpha then lam += step, else lam -= step.

    The caller decides when to update and on which data the accuracy is measured: the paper's box updates
    after every mini-batch with the accuracy on training data, the thesis after every epoch with the
    accuracy on validation data.

    Args:
        target: alpha, the accuracy to be kept, in [0, 1].
        step: change of lam, at least 0. ``multiplicative`` multiplies lam by 1 + step or divides it by
            1 + step. 0 keeps the weight fixed after the warm-up.
        start: the first weight after the warm-up, within the bounds; positive if multiplicative.
        minimum: lower bound of the weight, at least 0.
        maximum: upper bound of the weight, at least the minimum.
        scale: ``additive`` as in the paper, or ``multiplicative``.
        warmup: number of updates, at least 0, during which the weight is 0: epochs if the rule is
            updated after each epoch, steps if after each step.

    Attributes:
        weight: the present weight: a number, or a scalar tensor on an accelerator after an update with
            an accuracy on that accelerator, so that no update waits for the device.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        target: float,
        *,
        step: float,
        start: float = 0.0,
        minimum: float = 0.0,
        maximum: float = math.inf,
        scale: str = "additive",
        warmup: int = 0,
    ) -> None:
        if not 0 <= target <= 1:
            raise ValueError(f"target={target}: must be an accuracy in [0, 1]")
        check_non_negative("step", step)
        check_non_negative("minimum", minimum)
        check_choice("scale", scale, Scale)
        if not maximum >= minimum:
            raise ValueError(f"maximum={maximum}: must be at least minimum={minimum}")
        if not (minimum <= start <= maximum and start < math.inf):
            raise ValueError(f"start={start}: must be finite and in [{minimum}, {maximum}]")
        if scale == "multiplicative" and not start > 0:
            raise ValueError(f"start={start}: must be positive for a multiplicative step")
        if warmup < 0:
            raise ValueError(f"warmup={warmup}: must be at least 0")
        self.target, self.step, self.scale = target, step, scale
        self.start, self.minimum, self.maximum = start, minimum, maximum
        self.warmup = warmup
        self.updates = 0
        self.weight: float | Tensor = 0.0 if warmup else float(start)

    def update(self, accuracy: float | Tensor) -> None:
        """Update the weight by an accuracy in [0, 1]; an accuracy equal to the target lowers it.

        Args:
            accuracy: a number, or a scalar tensor. The host does not read a tensor on an accelerator:
                the weight then lies on the accelerator, too, and the range is not checked.

        Raises:
            ValueError: the accuracy is not in [0, 1].
        """
        if isinstance(accuracy, Tensor) and accuracy.device.type == "cpu":
            accuracy = float(accuracy)
        if not isinstance(accuracy, Tensor) and not 0 <= accuracy <= 1:
            raise ValueError(f"accuracy={accuracy}: must be in [0, 1]")
        self.updates += 1
        if self.updates < self.warmup:
            return
        if self.updates == self.warmup:
            self.weight = float(self.start)
            return
        raised, lowered = self._neighbours()
        if isinstance(accuracy, Tensor):
            self.weight = torch.where(accuracy.detach() > self.target, raised, lowered)
        else:
            self.weight = raised if accuracy > self.target else lowered

    def state_dict(self) -> dict[str, Any]:
        """The weight and the number of updates; the host waits for a weight on an accelerator."""
        return {"weight": float(self.weight), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.weight, self.updates = float(state["weight"]), int(state["updates"])

    def _neighbours(self) -> tuple[Any, Any]:
        if self.scale == "additive":
            raised, lowered = self.weight + self.step, self.weight - self.step
        else:
            raised, lowered = self.weight * (1 + self.step), self.weight / (1 + self.step)
        return self._bounded(raised), self._bounded(lowered)

    def _bounded(self, weight: float | Tensor) -> float | Tensor:
        if isinstance(weight, Tensor):
            return weight.clamp(self.minimum, self.maximum)
        return min(max(weight, self.minimum), self.maximum)
