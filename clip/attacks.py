"""Adversarial attacks on classifiers that return logits, and the accuracy that is left.

`strong` is the attack to report: a union of the others with adaptive steps. Inputs, radii and step
sizes share one unit, that of the images; models judge in evaluation mode, and modes and gradients
of parameters are left as they were. An attack bounds the robust accuracy from above, no more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bregman.modules import evaluating
from clip.attacked import Attack, Attacked
from clip.auto_pgd import auto_pgd
from clip.projected import fgsm, paper_pgd, pgd
from clip.strong import strong

__all__ = [
    "Attack",
    "Attacked",
    "Shares",
    "auto_pgd",
    "fgsm",
    "gaussian_noise",
    "paper_pgd",
    "pgd",
    "robust_accuracy",
    "strong",
]


class Shares(dict[float, float]):
    """Robust accuracy by radius, and how far the attack was on its own.

    Attributes:
        masked: share of all images at which the gradient of the attack's loss was unusable at some
            step, as in `Attacked.masked`.
    """

    masked: float = 0.0


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
        ValueError: a negative deviation, or none that is finite.
    """
    if not 0 <= std < float("inf"):
        raise ValueError(f"std={std}: must be at least 0 and finite")
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
) -> Shares:
    """Share of images that are classified correctly and that the attack does not break.

    Clean errors count as broken, so radius 0 gives the accuracy; the values never rise with the
    radius. The result is a dictionary by radius whose `masked` says at what share of the images the
    gradient of the attack's loss was of no use.

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
    masked = 0
    with evaluating(model):
        for batch, targets in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            found = attack(model, batch, targets, radii=radii, generator=generator)
            masked += 0 if found.masked is None else int(found.masked.sum())
            for radius in correct:
                correct[radius] += int((~found.broken[radius]).sum())
    shares = Shares({radius: count / len(images) for radius, count in correct.items()})
    shares.masked = masked / len(images)
    return shares
