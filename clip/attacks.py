"""Adversarial attacks on classifiers that return logits, and the accuracy under attack.

`strong` is the attack to report: a union of the other attacks and of attacks with adaptive steps.
Radii and step sizes are in units of the images. Models run in evaluation mode, and their modes and the
gradients of their parameters do not change. An attack gives an upper bound of the robust accuracy.
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
    """Robust accuracy by radius, and the share of images with unusable gradients.

    Attributes:
        masked: share of all images for which the gradient of the attack's loss was unusable at some
            step, see `Attacked.masked`.
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
        ValueError: the deviation is negative or not finite.
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
    radius. The attribute `masked` of the result is the share of images for which the gradient of the
    attack's loss was unusable.

    Args:
        model: network that returns logits ``(n, classes)``.
        images: ``(n, *input_shape)`` with n >= 1.
        labels: int64 ``(n,)``.
        radii: radii of the balls, each at least 0.
        attack: the attack, for instance ``functools.partial(pgd, norm="linf", restarts=5)``.
        batch_size: number of images in one forward pass.
        generator: random generator of the attack; None is a generator with seed 0.

    Raises:
        ValueError: there are no images, the batch size is below 1, or the attack raises an error.
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
