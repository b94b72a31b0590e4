"""Gradients for attacks: one for each image, checked, and replaced where they are of no use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clip.losses import LOSSES, is_saturated, log_odds, wrong_margins
from clip.scores import outputs_and_scores


@dataclass(frozen=True)
class Slope:
    """A network's answer to images, and where to go from there.

    Attributes:
        outputs: ``(n, classes)``, what the network returns.
        losses: ``(n,)``.
        gradients: shaped as the images; finite.
        masked: bool ``(n,)``, where the loss's own gradient was of no use.
    """

    outputs: Tensor
    losses: Tensor
    gradients: Tensor
    masked: Tensor


def judge(model: nn.Module, images: Tensor) -> Tensor:
    """A network's outputs, without gradient.

    Raises:
        ValueError: outputs are not finite, or not shaped as scores of classes.
    """
    with torch.no_grad():
        return checked(model(images))


def checked(outputs: Tensor) -> Tensor:
    """The outputs again.

    Raises:
        ValueError: outputs are not finite, or not shaped as scores of classes.
    """
    if outputs.dim() != 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"the model must return logits (n, classes), got shape {tuple(outputs.shape)}"
        )
    finite = outputs.detach().isfinite().all(dim=1)
    if not bool(finite.all()):
        wrong = outputs.detach()[~finite][0]
        value = "nan" if bool(wrong.isnan().any()) else "inf"
        raise ValueError(
            f"the model's outputs are not finite ({value}) for {int((~finite).sum())} of {len(outputs)} "
            "images, clean or under attack: what is not a number has no largest class, so no accuracy; "
            "check weights and inputs, or use a wider precision"
        )
    return outputs


def differentiate(
    model: nn.Module, points: Tensor, labels: Tensor, loss: str, *, scores: bool = False
) -> Slope:
    """Outputs, losses, and for every image a gradient that can be followed.

    A gradient is of no use where it vanishes or is not finite, and that of the cross-entropy where
    rounding takes it. There the margin of the scores before the last activation takes over, whose
    direction does not depend on the scale of the logits. Where that has no gradient either, what is
    finite of the first one is left, and possibly nothing.

    Args:
        model: in evaluation mode.
        points: ``(n, *input_shape)``.
        labels: int64 ``(n,)``.
        loss: by name.
        scores: take the loss of the scores before the last activation, and the cross-entropy by its
            log-odds, which rise with it and do not saturate. Else of the outputs, as they are.

    Raises:
        ValueError: as `checked`.
    """
    points = points.detach().requires_grad_()
    if scores:
        outputs, logits = outputs_and_scores(model, points)
    else:
        outputs = logits = model(points)
    checked(outputs)
    logits = _wide(logits)
    function = log_odds if scores and loss == "cross_entropy" else LOSSES[loss]
    losses = function(logits, labels)
    gradients = _gradients(losses, points)
    masked = _useless(gradients)
    if loss == "cross_entropy" and not scores:
        masked |= is_saturated(logits, labels)
    if bool(masked.any()):
        gradients = gradients.clone()
        gradients[masked] = _instead(model, points[masked], labels[masked], gradients[masked])
    return Slope(outputs.detach(), losses.detach(), gradients, masked)


def _instead(model: nn.Module, points: Tensor, labels: Tensor, found: Tensor) -> Tensor:
    points = points.detach().requires_grad_()
    logits = outputs_and_scores(model, points)[1]
    gradients = _finite_part(_gradients(wrong_margins(_wide(logits), labels), points))
    vanishes = (gradients == 0).flatten(1).all(dim=1)
    gradients[vanishes] = _finite_part(found[vanishes])
    return gradients


def _gradients(losses: Tensor, points: Tensor) -> Tensor:
    """Zero where the losses do not depend on the points, or not in a way that autograd knows."""
    if not losses.requires_grad:
        return torch.zeros_like(points)
    # Not backward(), which would fill the gradients of the parameters.
    (gradients,) = torch.autograd.grad(losses.sum(), points, allow_unused=True)
    return torch.zeros_like(points) if gradients is None else gradients


def _useless(gradients: Tensor) -> Tensor:
    flat = gradients.flatten(1)
    return ~flat.isfinite().all(dim=1) | (flat == 0).all(dim=1)


def _finite_part(gradients: Tensor) -> Tensor:
    """Entries that are not numbers give no direction; infinite ones count as the largest finite."""
    flat = gradients.flatten(1)
    finite = torch.where(flat.isfinite(), flat, 0.0)
    largest = finite.abs().amax(dim=1, keepdim=True)
    largest = torch.where(largest > 0, largest, 1.0)
    return torch.where(flat.isinf(), flat.sign() * largest, finite).reshape(gradients.shape)


def _wide(logits: Tensor) -> Tensor:
    """At least float32: half precision has no room for differences of logits."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
