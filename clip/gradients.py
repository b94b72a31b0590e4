"""Gradients for attacks, one for each image; unusable gradients are replaced by those of another loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clip.losses import LOSSES, is_saturated, log_odds, wrong_margins
from clip.scores import outputs_and_scores


@dataclass(frozen=True)
class Slope:
    """Outputs, losses and gradients of a network at images.

    Attributes:
        outputs: outputs of the network, ``(n, classes)``.
        losses: losses of the images, ``(n,)``.
        gradients: finite gradients of the shape of the images.
        masked: bool ``(n,)``, True where the loss's own gradient was unusable.
    """

    outputs: Tensor
    losses: Tensor
    gradients: Tensor
    masked: Tensor


def judge(model: nn.Module, images: Tensor) -> Tensor:
    """The outputs of a network, without gradient.

    Raises:
        ValueError: outputs are not finite, or not shaped as scores of classes.
    """
    with torch.no_grad():
        return checked(model(images))


def checked(outputs: Tensor) -> Tensor:
    """Return the outputs after a check of shape and values.

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
            "images, clean or under attack: such outputs have no largest class; check weights and "
            "inputs, or use a wider precision"
        )
    return outputs


def differentiate(
    model: nn.Module, points: Tensor, labels: Tensor, loss: str, *, scores: bool = False
) -> Slope:
    """Outputs, losses, and a usable gradient for every image.

    A gradient is unusable if it vanishes or is not finite; the gradient of the cross-entropy also if it
    is lost in rounding. Such a gradient is replaced by that of the margin of the scores before the last
    activation, whose direction does not depend on the scale of the logits. If the margin has no gradient
    either, the finite entries of the first gradient are used, which may all be zero.

    Args:
        model: the network, in evaluation mode.
        points: ``(n, *input_shape)``.
        labels: int64 ``(n,)``.
        loss: name of the loss.
        scores: True: take the loss of the scores before the last activation, and in place of the
            cross-entropy the log-odds, which increase with it and do not saturate. False: take the loss
            of the outputs.

    Raises:
        ValueError: see `checked`.
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
    """The gradients of losses in points; zero if autograd records no dependence."""
    if not losses.requires_grad:
        return torch.zeros_like(points)
    # backward() would add to the gradients of the parameters.
    (gradients,) = torch.autograd.grad(losses.sum(), points, allow_unused=True)
    return torch.zeros_like(points) if gradients is None else gradients


def _useless(gradients: Tensor) -> Tensor:
    flat = gradients.flatten(1)
    return ~flat.isfinite().all(dim=1) | (flat == 0).all(dim=1)


def _finite_part(gradients: Tensor) -> Tensor:
    """Replace NaN by 0, and infinite entries by the largest finite magnitude with their sign."""
    flat = gradients.flatten(1)
    finite = torch.where(flat.isfinite(), flat, 0.0)
    largest = finite.abs().amax(dim=1, keepdim=True)
    largest = torch.where(largest > 0, largest, 1.0)
    return torch.where(flat.isinf(), flat.sign() * largest, finite).reshape(gradients.shape)


def _wide(logits: Tensor) -> Tensor:
    """Logits in float32 or wider, because half precision rounds differences of logits too much."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
