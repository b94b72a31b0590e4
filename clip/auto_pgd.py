"""Gradient ascent whose step size follows its progress: Auto-PGD.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, Section 3 and Algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from bregman.validation import check_choice
from clip.attacked import Attacked, check_data
from clip.balls import direction, project, random_perturbations
from clip.choices import Loss, Norm
from clip.evaluation import differentiating, like_model
from clip.gradients import differentiate
from clip.search import State, limit

# Weight of the new step against the one before (the paper's alpha).
_MOMENTUM = 0.75
# Smallest share of steps since the last checkpoint that must raise the loss to keep the step size (rho).
_ENOUGH = 0.75


def auto_pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    radii: Sequence[float],
    norm: str = "l2",
    steps: int = 100,
    restarts: int = 1,
    loss: str = "cross_entropy",
    value_range: tuple[float, float] | None = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Attacked:
    """Ascent with momentum that halves its step where it stalls, and returns to the best point.

    The first step has twice the radius. At checkpoints, whose distances shrink, the step of an image is
    halved if less than three quarters of the steps since the last checkpoint raised the loss, or if
    neither the step size nor the best loss has changed since; the search then continues from the best
    point. Losses are those of the scores before a final activation. Every iterate is classified, and the
    search for an image ends when it is misclassified. The first start is the image itself, later starts
    are random points of the ball.

    Args:
        model: network that returns logits ``(n, classes)``.
        images: ``(n, *input_shape)``; converted to the model's precision and device.
        labels: int64 ``(n,)``.
        radii: radii of the balls, each at least 0.
        norm: norm of the balls; steps follow the gradient in ``l2`` and its signs in ``linf``.
        steps: number of steps from each start, at least 1.
        restarts: number of starts, at least 1.
        loss: ``cross_entropy``, ``margin`` or ``dlr``, see `clip.attacks.pgd`.
        value_range: lowest and highest value of an input; None for no limits.
        generator: random generator of the starts; None always draws the same starts.

    Raises:
        ValueError: see `clip.attacks.pgd`.
    """
    check_data(images, labels, radii, value_range)
    climb = AutoClimb(norm=norm, steps=steps, restarts=restarts, value_range=value_range)
    climb.check_loss(loss)
    generator = generator or torch.Generator().manual_seed(0)
    found_images: dict[float, Tensor] = {}
    found_broken: dict[float, Tensor] = {}
    with differentiating(model):
        images = like_model(images, model)
        state = State.begin(model, images, labels.to(images.device))
        for radius in sorted(set(map(float, radii))):
            for restart in range(restarts if radius > 0 else 0):
                climb.run(
                    model, state, climb.start(state, radius, restart, generator), radius, loss
                )
            found_images[radius] = state.found.clone()
            found_broken[radius] = state.broken.clone()
    return Attacked(images=found_images, broken=found_broken, masked=state.masked)


def checkpoints(steps: int) -> list[int]:
    """Numbers of steps after which step sizes are revised: ``ceil(p_j steps)`` for j >= 1.

    p_0 = 0, p_1 = 0.22, and p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06) up to 1.
    """
    # Integers count hundredths, so that no sum is rounded.
    before, now, found = 0, 22, []
    while now <= 100:
        found.append(math.ceil(now * steps / 100))
        before, now = now, now + max(now - before - 3, 6)
    return sorted(set(found))


@dataclass
class _Climbers:
    """The images that are still searched; all tensors have one row for each image.

    Attributes:
        indices: indices of the images in the state.
        points: present points of the search.
        before: points of one step earlier.
        losses: losses at the points.
        gradients: gradients at the points.
        best: points with the largest losses so far.
        best_losses: losses at the best points.
        best_gradients: gradients at the best points.
        sizes: step sizes.
        rises: numbers of steps since the last checkpoint that raised the loss.
        halved: whether the last checkpoint halved the step size.
        best_then: largest losses at the last checkpoint.
    """

    indices: Tensor
    points: Tensor
    before: Tensor
    losses: Tensor
    gradients: Tensor
    best: Tensor
    best_losses: Tensor
    best_gradients: Tensor
    sizes: Tensor
    rises: Tensor
    halved: Tensor
    best_then: Tensor

    def keep(self, rows: Tensor) -> None:
        """Keep the rows of some of the images."""
        if not bool(rows.all()):
            for field in fields(self):
                setattr(self, field.name, getattr(self, field.name)[rows])

    def remember_best(self) -> None:
        """Note the points whose loss is larger than all losses before."""
        better = self.losses > self.best_losses
        self.best[better] = self.points[better]
        self.best_losses[better] = self.losses[better]
        self.best_gradients[better] = self.gradients[better]

    def look_back(self, steps: int) -> None:
        """Halve step sizes without progress, at a checkpoint `steps` steps after the last one."""
        stalls = self.rises < _ENOUGH * steps
        idle = ~self.halved & (self.best_losses == self.best_then)
        self.halved = stalls | idle
        self.sizes[self.halved] /= 2
        for now, best in (
            (self.points, self.best),
            (self.before, self.best),
            (self.losses, self.best_losses),
            (self.gradients, self.best_gradients),
        ):
            now[self.halved] = best[self.halved]
        self.rises = torch.zeros_like(self.rises)
        self.best_then = self.best_losses.clone()


@dataclass(frozen=True, kw_only=True)
class AutoClimb:
    """Settings of the ascent, as in `auto_pgd`."""

    norm: str
    steps: int
    restarts: int
    value_range: tuple[float, float] | None

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, Norm)
        for name in ("steps", "restarts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")

    @staticmethod
    def check_loss(loss: str) -> None:
        """Raise ValueError for an unknown name of a loss."""
        check_choice("loss", loss, Loss)

    def start(
        self, state: State, radius: float, restart: int, generator: torch.Generator
    ) -> Tensor:
        """Starting points: the images themselves for the first start, then random points of the ball."""
        if restart == 0:
            return state.images.clone()
        # Draw for all images, so that the start of an image does not depend on which others are broken.
        drawn = random_perturbations(state.images, radius, self.norm, generator)
        return limit(state.images + drawn, self.value_range)

    def run(self, model: nn.Module, state: State, start: Tensor, radius: float, loss: str) -> None:
        """One ascent for every image that is not broken yet, from a point of its ball."""
        climbers = self._begin(model, state, start, radius, loss)
        last = 0
        looks = checkpoints(self.steps)
        for step in range(1, self.steps + 1):
            if len(climbers.indices) == 0:
                return
            self._step(climbers, state.images[climbers.indices], radius, first=step == 1)
            self._look(model, state, climbers, loss)
            if step in looks:
                climbers.look_back(step - last)
                last = step

    def _begin(
        self, model: nn.Module, state: State, start: Tensor, radius: float, loss: str
    ) -> _Climbers:
        indices = state.active
        points = start[indices].clone()
        count, like = len(indices), points.new_zeros
        climbers = _Climbers(
            indices=indices,
            points=points,
            before=points.clone(),
            losses=like(count) - math.inf,
            gradients=torch.zeros_like(points),
            best=points.clone(),
            best_losses=like(count) - math.inf,
            best_gradients=torch.zeros_like(points),
            sizes=like(count) + 2 * radius,
            rises=like(count),
            halved=torch.zeros_like(indices, dtype=torch.bool),
            best_then=like(count) - math.inf,
        )
        if count > 0:
            self._look(model, state, climbers, loss)
        climbers.rises.zero_()  # the evaluation of the starting points is no step
        climbers.best_then = climbers.best_losses.clone()
        return climbers

    def _step(self, climbers: _Climbers, images: Tensor, radius: float, *, first: bool) -> None:
        sizes = climbers.sizes.reshape(-1, *[1] * (images.dim() - 1))
        rule = "gradient" if self.norm == "l2" else "sign"
        points = climbers.points
        ahead = points + sizes * direction(climbers.gradients, rule, self.norm)
        ahead = self._inside(ahead, images, radius)
        if not first:
            momentum = (1 - _MOMENTUM) * (points - climbers.before)
            ahead = self._inside(points + _MOMENTUM * (ahead - points) + momentum, images, radius)
        climbers.before, climbers.points = points, ahead

    def _inside(self, points: Tensor, images: Tensor, radius: float) -> Tensor:
        points = images + project(points - images, radius, self.norm)
        return limit(points, self.value_range)

    def _look(self, model: nn.Module, state: State, climbers: _Climbers, loss: str) -> None:
        """Classify the points, drop broken images, and note the best points of the others."""
        labels = state.labels[climbers.indices]
        slope = differentiate(model, climbers.points, labels, loss, scores=True)
        state.update(climbers.indices, climbers.points, slope.outputs)
        climbers.rises += slope.losses > climbers.losses
        climbers.losses, climbers.gradients = slope.losses.to(climbers.points), slope.gradients
        remain = ~state.broken[climbers.indices]
        state.masked[climbers.indices[remain]] |= slope.masked[remain]
        climbers.keep(remain)
        climbers.remember_best()
