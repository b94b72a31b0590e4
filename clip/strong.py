"""The attack to report: a union of attacks, which is at least as strong as each of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clip.attacked import Attacked, check_data
from clip.auto_pgd import AutoClimb
from clip.evaluation import differentiating, like_model
from clip.gradients import judge
from clip.projected import paper_pgd, pgd
from clip.search import State

#: Losses that the ascent from each start takes, one after the other.
_LOSSES: tuple[str, ...] = ("cross_entropy", "dlr", "margin")


def strong(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    radii: Sequence[float],
    norm: str = "l2",
    steps: int = 100,
    restarts: int = 2,
    value_range: tuple[float, float] | None = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Attacked:
    """A union of `clip.attacks.pgd`, `paper_pgd` (l2) and `auto_pgd` with three losses.

    `auto_pgd` ascends on cross-entropy, difference-of-logits ratio and margin of the scores before a
    final activation, from each of its starts, for the images that no earlier attack has broken. An image
    counts as broken if one attack breaks it. So at the same radius, norm, range of values and number of
    steps no attack of the union leaves a smaller accuracy than the union. The result is an upper bound
    of the robust accuracy; the ensemble of Croce and Hein may find a smaller one.

    Args:
        model: network that returns logits ``(n, classes)``.
        images: ``(n, *input_shape)``; converted to the model's precision and device.
        labels: int64 ``(n,)``.
        radii: radii of the balls, each at least 0.
        norm: norm of the balls, ``l2`` or ``linf``.
        steps: number of steps of every attack from each of its starts, at least 1.
        restarts: number of starts of `auto_pgd` with each loss, at least 1; other attacks have one.
        value_range: lowest and highest value of an input, for all attacks; None for no limits.
        generator: random generator of the starts; None always draws the same starts.

    Raises:
        ValueError: see `clip.attacks.pgd`.
    """
    check_data(images, labels, radii, value_range)
    climb = AutoClimb(norm=norm, steps=steps, restarts=restarts, value_range=value_range)
    generator = generator or torch.Generator().manual_seed(0)
    first = [
        pgd(model, images, labels, radii=radii, norm=norm, steps=steps, value_range=value_range)
    ]
    if norm == "l2":
        first.append(
            paper_pgd(model, images, labels, radii=radii, steps=steps, value_range=value_range)
        )
    found_images: dict[float, Tensor] = {}
    found_broken: dict[float, Tensor] = {}
    with differentiating(model):
        images = like_model(images, model)
        state = State.begin(model, images, labels.to(images.device))
        for attacked in first:
            if attacked.masked is not None:
                state.masked |= attacked.masked
        for radius in sorted(set(map(float, radii))):
            for attacked in first:
                _join(model, state, attacked, radius)
            for restart in range(restarts if radius > 0 else 0):
                start = climb.start(state, radius, restart, generator)
                for loss in _LOSSES:
                    climb.run(model, state, start, radius, loss)
            found_images[radius] = state.found.clone()
            found_broken[radius] = state.broken.clone()
    return Attacked(images=found_images, broken=found_broken, masked=state.masked)


def _join(model: nn.Module, state: State, attacked: Attacked, radius: float) -> None:
    """Update the state by the images that another attack found at a radius."""
    candidates = attacked.images[radius]
    state.update(
        torch.arange(len(candidates)).to(candidates.device), candidates, judge(model, candidates)
    )
    # Outputs may round differently in another batch; an image that was broken once stays broken.
    missed = attacked.broken[radius] & ~state.broken
    state.found[missed] = candidates[missed]
    state.broken[missed] = True
