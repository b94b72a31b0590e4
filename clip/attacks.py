"""Adversarial attacks on classifiers that return logits, and the accuracy that is left.

FGSM: Goodfellow, Shlens and Szegedy, ICLR 2015. PGD: Madry, Makelov, Schmidt, Tsipras and Vladu,
ICLR 2018. `paper_pgd` is the attack of the CLIP paper (eq. 14). Inputs, radii and step sizes share
one unit, that of the images; models judge in evaluation mode, and modes and gradients of parameters
are left as they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clip.attacked import Attack, Attacked, check_data
from clip.balls import Norm, StepRule
from clip.evaluation import differentiating, evaluating, like_model
from clip.search import Loss, Search


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    radii: Sequence[float],
    norm: Norm = "l2",
    step_rule: StepRule | None = None,
    step_size: float | None = None,
    steps: int = 100,
    restarts: int = 1,
    loss: Loss = "cross_entropy",
    value_range: tuple[float, float] | None = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Attacked:
    """Projected gradient ascent on the loss, inside a ball around each image.

    Every iterate is judged, not the last one alone, and an image that is misclassified is not
    searched any further. The first start is the image itself, later ones are random points of the
    ball. After each step follows the projection onto the ball, then onto the range of values; for
    images within the range the second does not leave the ball.

    Args:
        model: returns logits ``(n, classes)``.
        images: ``(n, *input_shape)``; converted to the model's precision and device.
        labels: int64 ``(n,)``.
        radii: of the balls, at least 0.
        norm: of the balls.
        step_rule: ``gradient`` follows the gradient, scaled to norm one; ``sign`` its signs. None:
            the direction of steepest ascent, gradient for l2 and sign for linf.
        step_size: length of a step, in the ball's norm with the rule ``gradient``; each entry's
            change with the rule ``sign``. None: 2.5 * radius / steps.
        steps: for each start, at least 1.
        restarts: number of starts, at least 1.
        loss: ``cross_entropy``, or ``margin``: the largest logit of a wrong class minus the right
            one's.
        value_range: lowest and highest value of an input; None for no limits.
        generator: of the random starts; None always draws the same.

    Raises:
        ValueError: a number or a name is out of range, shapes do not fit, or images leave the
            range of values.
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
        state = search.begin(model, images, labels.to(images.device))
        for radius in sorted(set(map(float, radii))):
            if radius > 0:
                search.run(model, state, radius, generator)
            found_images[radius] = state.found.clone()
            found_broken[radius] = state.broken.clone()
    return Attacked(images=found_images, broken=found_broken)


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    radii: Sequence[float],
    norm: Norm = "linf",
    loss: Loss = "cross_entropy",
    value_range: tuple[float, float] | None = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Attacked:
    """One step from the image to the boundary of the ball: by signs in linf, the gradient in l2.

    Args and errors are those of `pgd`; nothing is random.
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

    Unusual, and weaker than `pgd` at its defaults. A step of 0.25 in each of 784 pixels has the
    Euclidean length 7, far beyond the radius of 2, so each step is mostly undone by the projection
    and the iterates jump on the sphere instead of climbing; all pixels count alike, however small
    their gradient. Kept to compare with the published tables; report `pgd` beside it.

    The paper states neither the start nor a range of values: it starts at the image here, without
    limits; the published code limits values to (0, 1), uses 0.5 as step size and rescales onto the
    sphere in place of projecting.

    Args and errors are those of `pgd`; nothing is random.
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


def gaussian_noise(
    images: Tensor,
    std: float,
    generator: torch.Generator,
    *,
    clamp: tuple[float, float] | None = (0.0, 1.0),
) -> Tensor:
    """Images with independent normal noise added to every entry.

    Args:
        images: any shape; precision and device are kept.
        std: standard deviation of the noise, in units of the images, at least 0.
        generator: the only source of randomness, on any device.
        clamp: range that the result is cut to; None leaves it alone.

    Raises:
        ValueError: a negative deviation.
    """
    if not std >= 0:
        raise ValueError(f"std={std}: must be at least 0")
    noise = torch.randn(images.shape, generator=generator, device=generator.device)
    noisy = images + std * noise.to(images)
    return noisy if clamp is None else noisy.clamp(*clamp)


def robust_accuracy(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    radii: Sequence[float],
    attack: Attack = pgd,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
) -> dict[float, float]:
    """Share of images that are classified correctly and that the attack does not break.

    Clean errors count as broken, so radius 0 gives the accuracy; the values never rise with the
    radius.

    Args:
        model: returns logits ``(n, classes)``.
        images: ``(n, *input_shape)`` with n >= 1.
        labels: int64 ``(n,)``.
        radii: of the balls, at least 0.
        attack: for instance ``functools.partial(pgd, norm="linf", restarts=5)``.
        batch_size: images at a time.
        generator: handed to the attack; None lets the attack draw the same at each call.

    Raises:
        ValueError: no images, or what the attack raises.
    """
    if len(images) == 0 or batch_size < 1:
        raise ValueError(
            f"there must be images and batch_size be at least 1, got {len(images)} and {batch_size}"
        )
    generator = generator or torch.Generator().manual_seed(0)
    correct = dict.fromkeys(sorted(set(map(float, radii))), 0)
    with evaluating(model):
        for batch, targets in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            broken = attack(model, batch, targets, radii=radii, generator=generator).broken
            for radius in correct:
                correct[radius] += int((~broken[radius]).sum())
    return {radius: count / len(images) for radius, count in correct.items()}
