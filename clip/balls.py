"""Geometry of perturbations: norms of images, steps, projections and random points of balls."""

from __future__ import annotations

import torch
from torch import Tensor


def lengths(images: Tensor, norm: str) -> Tensor:
    """Norm of each image, shaped ``(n, 1, ..., 1)`` so that it scales images."""
    order = 2 if norm == "l2" else float("inf")
    values = torch.linalg.vector_norm(images.flatten(1), ord=order, dim=1)
    return values.reshape(-1, *[1] * (images.dim() - 1))


def project(perturbations: Tensor, radius: float, norm: str) -> Tensor:
    """The nearest point of the ball around zero; perturbations inside the ball do not change."""
    if norm == "linf":
        return perturbations.clamp(-radius, radius)
    return perturbations * (radius / lengths(perturbations, norm).clamp(min=1e-30)).clamp(max=1.0)


def direction(gradients: Tensor, rule: str, norm: str) -> Tensor:
    """The direction of a step of size one: signs, or the gradient with norm one.

    A vanishing gradient gives no step.
    """
    if rule == "sign":
        return gradients.sign()
    # The gradient is scaled first, because the squares of very small entries vanish in float32.
    largest = lengths(gradients, "linf")
    scaled = gradients / torch.where(largest > 0, largest, 1.0)
    return scaled / lengths(scaled, norm).clamp(min=1e-30)


def random_perturbations(
    images: Tensor, radius: float, norm: str, generator: torch.Generator
) -> Tensor:
    """Uniform random points of the ball, one for each image and shaped like it.

    The points are drawn in float32 on the generator's device, so that they do not depend on the device
    of the images.
    """
    device = generator.device
    if norm == "linf":
        points = torch.rand(images.shape, generator=generator, device=device) * 2 - 1
        return radius * points.to(images)
    points = torch.randn(images.shape, generator=generator, device=device)
    shares = torch.rand(len(images), generator=generator, device=device)
    shares = shares ** (1 / max(1, images[0].numel()))
    shares = shares.reshape(-1, *[1] * (images.dim() - 1))
    return radius * (shares * points / lengths(points, norm).clamp(min=1e-30)).to(images)
