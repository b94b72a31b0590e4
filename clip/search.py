"""The search of projected gradient ascent for misclassified images, shared by all attacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.balls import Norm, StepRule, direction, project, random_perturbations

#: What the search ascends: see `clip.attacks.pgd`.
Loss = Literal["cross_entropy", "margin"]


@dataclass
class State:
    """The best that has been found for every image so far.

    Attributes:
        images: the clean ones, ``(n, *input_shape)``.
        labels: int64 ``(n,)``.
        found: misclassified if possible, else with the largest wrong margin, shaped as images.
        broken: bool ``(n,)``, whether found is misclassified.
        margins: ``(n,)``, of found: largest wrong logit minus the right one.
    """

    images: Tensor
    labels: Tensor
    found: Tensor
    broken: Tensor
    margins: Tensor

    def update(self, indices: Tensor, candidates: Tensor, logits: Tensor) -> None:
        """Keep candidates for the images with the given indices where they are better."""
        labels = self.labels[indices]
        broken = logits.argmax(dim=1) != labels
        margins = wrong_margins(logits, labels)
        better = (broken & ~self.broken[indices]) | (
            (broken == self.broken[indices]) & (margins > self.margins[indices])
        )
        chosen = indices[better]
        self.found[chosen] = candidates[better]
        self.broken[chosen] = broken[better]
        self.margins[chosen] = margins[better]


@dataclass(frozen=True, kw_only=True)
class Search:
    """Settings of the search, as in `clip.attacks.pgd`."""

    norm: Norm
    step_rule: StepRule
    step_size: float | None
    steps: int
    restarts: int
    loss: Loss
    value_range: tuple[float, float] | None

    def __post_init__(self) -> None:
        for name, kind in {"norm": Norm, "step_rule": StepRule, "loss": Loss}.items():
            choices = get_args(kind)
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be one of {choices}")
        for name in ("steps", "restarts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.step_size is not None and not self.step_size > 0:
            raise ValueError(f"step_size={self.step_size}: must be positive")

    def begin(self, model: nn.Module, images: Tensor, labels: Tensor) -> State:
        """Judge the clean images."""
        with torch.no_grad():
            logits = model(images)
        if logits.dim() != 2 or logits.shape[1] < 2:
            raise ValueError(
                f"the model must return logits (n, classes), got shape {tuple(logits.shape)}"
            )
        broken = logits.argmax(dim=1) != labels
        return State(images, labels, images.clone(), broken, wrong_margins(logits, labels))

    def run(
        self, model: nn.Module, state: State, radius: float, generator: torch.Generator
    ) -> None:
        """Search a ball around every image that is not broken yet, one start after the other."""
        for restart in range(self.restarts):
            # Drawn for all images, so that one's start does not depend on the others' fates.
            start = torch.zeros_like(state.images)
            if restart > 0:
                start = random_perturbations(state.images, radius, self.norm, generator)
            self._climb(model, state, start, radius)

    def _climb(self, model: nn.Module, state: State, start: Tensor, radius: float) -> None:
        size = 2.5 * radius / self.steps if self.step_size is None else self.step_size
        active = (~state.broken).nonzero()[:, 0]
        points = self._limit(state.images[active] + start[active])
        for _ in range(self.steps):
            if len(active) == 0:
                return
            logits, gradients = self._differentiate(model, points, state.labels[active])
            state.update(active, points, logits)
            remain = ~state.broken[active]
            active, points = active[remain], points[remain]
            points = points + size * direction(gradients[remain], self.step_rule, self.norm)
            clean = state.images[active]
            points = self._limit(clean + project(points - clean, radius, self.norm))
        if len(active) > 0:
            with torch.no_grad():
                state.update(active, points, model(points))

    def _differentiate(
        self, model: nn.Module, points: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits, and the gradient of each image's loss at that image."""
        points = points.detach().requires_grad_()
        logits = model(points)
        if self.loss == "margin":
            losses = wrong_margins(logits, labels)
        else:
            losses = F.cross_entropy(logits, labels, reduction="none")
        # Not backward(), which would fill the gradients of the parameters.
        (gradients,) = torch.autograd.grad(losses.sum(), points)
        return logits.detach(), gradients

    def _limit(self, points: Tensor) -> Tensor:
        return points if self.value_range is None else points.clamp(*self.value_range)


def wrong_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest logit of a wrong class minus the right one's, ``(n,)``: positive if misclassified."""
    right = logits.gather(1, labels[:, None])
    wrong = logits.scatter(1, labels[:, None], float("-inf")).amax(dim=1)
    return wrong - right[:, 0]
