"""The search of projected gradient ascent for misclassified images, shared by all attacks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bregman.validation import check_choice
from clip.balls import direction, project, random_perturbations
from clip.choices import Loss, Norm, StepRule
from clip.gradients import differentiate, judge
from clip.losses import wrong_margins


@dataclass
class State:
    """The best candidate for every image so far.

    Attributes:
        images: clean images, ``(n, *input_shape)``.
        labels: int64 ``(n,)``.
        found: best candidates, of the shape of the images: misclassified if possible, else with the
            largest margin of a wrong class.
        broken: bool ``(n,)``, whether `found` is misclassified.
        margins: ``(n,)``, largest logit of a wrong class minus that of the right class, at `found`.
        masked: bool ``(n,)``, whether the gradient of a loss was unusable at some step.
    """

    images: Tensor
    labels: Tensor
    found: Tensor
    broken: Tensor
    margins: Tensor
    masked: Tensor

    @classmethod
    def begin(cls, model: nn.Module, images: Tensor, labels: Tensor) -> State:
        """Classify the clean images.

        Raises:
            ValueError: outputs are not finite logits, or a label is not one of the classes.
        """
        logits = judge(model, images)
        classes = logits.shape[1]
        if len(labels) > 0 and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(
                f"labels lie in {int(labels.min())}..{int(labels.max())} and the model has {classes} "
                f"classes: they must lie in 0..{classes - 1}"
            )
        broken = logits.argmax(dim=1) != labels
        margins = wrong_margins(logits, labels)
        return cls(images, labels, images.clone(), broken, margins, torch.zeros_like(broken))

    @property
    def active(self) -> Tensor:
        """Indices of the images that are not broken."""
        return (~self.broken).nonzero()[:, 0]

    def update(self, indices: Tensor, candidates: Tensor, logits: Tensor) -> None:
        """Replace `found` by candidates, for the images with these indices, where these are better."""
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

    norm: str
    step_rule: str
    step_size: float | None
    steps: int
    restarts: int
    loss: str
    value_range: tuple[float, float] | None

    def __post_init__(self) -> None:
        for name, kind in {"norm": Norm, "step_rule": StepRule, "loss": Loss}.items():
            check_choice(name, getattr(self, name), kind)
        for name in ("steps", "restarts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.step_size is not None and not self.step_size > 0:
            raise ValueError(f"step_size={self.step_size}: must be positive")

    def run(
        self, model: nn.Module, state: State, radius: float, generator: torch.Generator
    ) -> None:
        """Search a ball around every image that is not broken yet, one start after the other."""
        for restart in range(self.restarts):
            # Draw for all images, so that the start of an image does not depend on which others are broken.
            start = torch.zeros_like(state.images)
            if restart > 0:
                start = random_perturbations(state.images, radius, self.norm, generator)
            self._climb(model, state, start, radius)

    def _climb(self, model: nn.Module, state: State, start: Tensor, radius: float) -> None:
        size = 2.5 * radius / self.steps if self.step_size is None else self.step_size
        active = state.active
        points = limit(state.images[active] + start[active], self.value_range)
        for _ in range(self.steps):
            if len(active) == 0:
                return
            slope = differentiate(model, points, state.labels[active], self.loss)
            state.update(active, points, slope.outputs)
            remain = ~state.broken[active]
            active, points = active[remain], points[remain]
            state.masked[active] |= slope.masked[remain]
            points = points + size * direction(slope.gradients[remain], self.step_rule, self.norm)
            clean = state.images[active]
            points = clean + project(points - clean, radius, self.norm)
            points = limit(points, self.value_range)
        if len(active) > 0:
            state.update(active, points, judge(model, points))


def limit(points: Tensor, value_range: tuple[float, float] | None) -> Tensor:
    """The nearest points within the range of values."""
    return points if value_range is None else points.clamp(*value_range)
