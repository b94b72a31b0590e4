"""Projected gradient ascent with fixed steps: PGD, FGSM and the attack of the CLIP paper.

FGSM: Goodfellow, Shlens and Szegedy, ICLR 2015. PGD: Madry, Makelov, Schmidt, Tsipras and Vladu,
ICLR 2018. `paper_pgd` is the attack of the CLIP paper (eq. 14).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clip.attacked import Attacked, check_data
from clip.evaluation import differentiating, like_model
from clip.search import Search, State


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    radii: Sequence[float],
    norm: str = "l2",
    step_rule: str | None = None,
    step_size: float | None = None,
    steps: int = 100,
    restarts: int = 1,
    loss: str = "cross_entropy",
    value_range: tuple[float, float] | None = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Attacked:
    """Projected gradient ascent on the loss, inside a ball around each image.

    Every iterate is classified, and the search for an image ends when it is misclassified. The first
    start is the image itself, later starts are random points of the ball. Each step is followed by the
    projection onto the ball and then onto the range of values; for images within the range the second
    projection does not leave the ball.

    Args:
        model: network that returns logits ``(n, classes)``.
        images: ``(n, *input_shape)``; converted to the model's precision and device.
        labels: int64 ``(n,)``.
        radii: radii of the balls, each at least 0.
        norm: norm of the balls, ``l2`` or ``linf``.
        step_rule: direction of a step: ``gradient`` is the gradient, scaled to norm one, ``sign`` its
            signs. None takes the direction of steepest ascent: gradient for l2 and sign for linf.
        step_size: length of a step in the ball's norm with the rule ``gradient``, change of each entry
            with the rule ``sign``. None: 2.5 * radius / steps.
        steps: number of steps from each start, at least 1.
        restarts: number of starts, at least 1.
        loss: ``cross_entropy``; ``margin``, the largest logit of a wrong class minus that of the right
            class; or ``dlr``, the margin over the gap between the first and the third logit. Where the
            gradient of the loss vanishes, is lost in rounding or is not finite, the margin of the scores
            before the last activation takes over; `Attacked.masked` marks these images.
        value_range: lowest and highest value of an input; None for no limits.
        generator: random generator of the starts; None always draws the same starts.

    Raises:
        ValueError: a number or a name is out of range, shapes do not fit, images leave the range of
            values or are not finite, or the model's outputs are not finite, clean or under attack.
    """
    search = Search(
        norm=norm,
        step_rule=step_rule or ("gradient" if norm == "l2" else "sign"),
        step_size=step_size,
        steps=steps,
        restarts=restarts,
        loss=loss,
        value_range=value_range,
    )
    check_data(images, labels, radii, value_range)
    generator = generator or torch.Generator().manual_seed(0)
    found_images: dict[float, Tensor] = {}
    found_broken: dict[float, Tensor] = {}
    with differentiating(model):
        images = like_model(images, model)
        state = State.begin(model, images, labels.to(images.device))
        for radius in sorted(set(map(float, radii))):
            if radius > 0:
                search.run(model, state, radius, generator)
            found_images[radius] = state.found.clone()
            found_broken[radius] = state.broken.clone()
    return Attacked(images=found_images, broken=found_broken, masked=state.masked)


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    radii: Sequence[float],
    norm: str = "linf",
    loss: str = "cross_entropy",
    value_range: tuple[float, float] | None = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Attacked:
    """One step from the image to the boundary of the ball, along signs in linf, the gradient in l2.

    Arguments and errors are those of `pgd`. The attack uses no random numbers.
    """
    return pgd(
        model,
        images,
        labels,
        radii=radii,
        norm=norm,
        steps=1,
        loss=loss,
        value_range=value_range,
        generator=generator,
    )


def paper_pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    radii: Sequence[float] = (2.0,),
    step_size: float = 0.25,
    steps: int = 100,
    value_range: tuple[float, float] | None = None,
    generator: torch.Generator | None = None,
) -> Attacked:
    """The attack of the CLIP paper (eq. 14): an l2 ball, but steps along the signs.

    The attack is weaker than `pgd` at its defaults. A step of 0.25 in each of 784 pixels has the Euclidean
    length 7, far beyond the radius of 2. So the projection undoes most of each step, the iterates jump on
    the sphere and do not ascend, and all pixels get equal steps, however small their gradients. The attack
    serves comparisons with the published tables; report `pgd` or `strong` beside it.

    The paper states neither the start nor a range of values. This attack starts at the image and has no
    limits by default; the published code limits values to (0, 1), takes the step size 0.5, and rescales
    onto the sphere in place of projecting.

    Arguments and errors are those of `pgd`. The attack uses no random numbers.
    """
    return pgd(
        model,
        images,
        labels,
        radii=radii,
        norm="l2",
        step_rule="sign",
        step_size=step_size,
        steps=steps,
        value_range=value_range,
        generator=generator,
    )
