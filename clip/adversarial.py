"""Adversarial training: the loss at attacked inputs, as an objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from bregman.validation import check_choice, check_non_negative, check_positive
from clip.attacked import Attack
from clip.balls import direction, project, random_perturbations
from clip.choices import Norm
from clip.evaluation import differentiating
from clip.objective import Evaluated, Loss
from clip.sources import check_range


class AdversarialTraining:
    """mean over the batch of max over the ball of the loss (Madry et al., ICLR 2018; thesis 4.2).

    Projected gradient ascent from a random point of the ball approaches the maximum, in evaluation mode;
    the network trains on the last point, as in the paper. An attack of `clip.attacks` may take the place
    of the ascent: an attack stops at the first misclassified point, which is easier to learn. Radii and
    steps are in units of the inputs. The ascent costs `steps` forward and backward passes for each batch.

    Args:
        model: network that returns logits ``(batch, classes)``.
        loss: mean loss of a batch, from outputs and targets.
        radius: radius of the ball, at least 0; 0 is plain training.
        norm: norm of the ball; steps follow the gradient with ``l2`` and its signs with ``linf``.
        steps: number of steps of the ascent, at least 1.
        step_size: None is 2.5 * radius / steps.
        share: weight of the attacked loss in the total, in (0, 1]; the clean loss has the rest.
        value_range: lowest and highest value of an input, None for no limits.
        attack: attack of `clip.attacks`, which is called with the radius and the generator only.
        generator: the only source of randomness; None is a CPU generator with seed 0.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        *,
        radius: float,
        norm: str = "l2",
        steps: int = 10,
        step_size: float | None = None,
        share: float = 1.0,
        value_range: tuple[float, float] | None = (0.0, 1.0),
        attack: Attack | None = None,
        generator: Generator | None = None,
    ) -> None:
        check_non_negative("radius", radius)
        check_choice("norm", norm, Norm)
        if steps < 1:
            raise ValueError(f"steps={steps}: must be at least 1")
        if step_size is not None:
            check_positive("step_size", step_size)
        if not 0 < share <= 1:
            raise ValueError(f"share={share}: must be in (0, 1]")
        if value_range is not None:
            check_range("value_range", value_range)
        self.model, self.loss = model, loss
        self.norm: str = norm
        self.radius, self.steps, self.share = float(radius), steps, share
        self.step_size = 2.5 * radius / steps if step_size is None else step_size
        self.value_range, self.attack = value_range, attack
        self.generator = generator or Generator().manual_seed(0)

    def __call__(
        self, inputs: Tensor, targets: Tensor, *, forward: Callable[[Tensor], Tensor] | None = None
    ) -> Evaluated:
        """Evaluate a batch; outputs and loss are those of the clean inputs if `share` is below 1.

        Args:
            inputs: ``(batch, *input_shape)``.
            targets: labels, int64 ``(batch,)``.
            forward: function that runs the batch in place of the model, such as the compiled model.
        """
        forward = forward or self.model
        attacked = self.attacked(inputs, targets) if self.radius > 0 else inputs
        outputs = forward(attacked)
        loss = total = self.loss(outputs, targets)
        if self.share < 1:
            outputs = forward(inputs)
            loss = self.loss(outputs, targets)
            total = self.share * total + (1 - self.share) * loss
        return Evaluated(total, loss.detach(), outputs.detach())

    def attacked(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The inputs that a batch is trained on, ``(batch, *input_shape)``."""
        if self.attack is not None:
            found = self.attack(
                self.model, inputs, targets, radii=(self.radius,), generator=self.generator
            )
            return found.images[self.radius]
        rule = "gradient" if self.norm == "l2" else "sign"
        inputs = inputs.detach()
        start = random_perturbations(inputs, self.radius, self.norm, self.generator)
        points = self._limit(inputs + start)
        with differentiating(self.model):
            for _ in range(self.steps):
                leaf = points.detach().requires_grad_()
                loss = self.loss(self.model(leaf), targets)
                (gradients,) = torch.autograd.grad(loss, leaf)
                moved = points + self.step_size * direction(gradients, rule, self.norm)
                points = self._limit(inputs + project(moved - inputs, self.radius, self.norm))
        return points.detach()

    def update(self, accuracy: float | Tensor) -> None:
        """Do nothing: no weight of this objective depends on the accuracy."""

    def end_epoch(self) -> None:
        """Do nothing."""

    def weights(self) -> dict[str, float]:
        """An empty dictionary: this objective has no weights to log."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """State of the generator."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.generator.set_state(state["generator"].cpu())

    def _limit(self, points: Tensor) -> Tensor:
        return points if self.value_range is None else points.clamp(*self.value_range)
