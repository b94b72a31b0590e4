"""Difference quotients of a network over pairs of inputs, and their gradients on both sides.

L(x, x') = |f(x) - f(x')| / |x - x'| in Euclidean norms (CLIP paper, eq. 3). One backward pass from
the outputs of all pairs gives J(x)^T (f(x) - f(x')) at both ends and, from the same pass, the
gradient in the parameters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from bregman.modules import evaluating

#: Exponent of the quotients in a penalty: Lip as in the paper, Lip^2 as in its published code.
Power = Literal[1, 2]


class Seen(NamedTuple):
    """Difference quotients of pairs, and their gradients in inputs and parameters.

    Attributes:
        quotients: ``(m,)``; 0 where the two points coincide.
        gradients: ``(m, 2, *input_shape)``, L times the gradient of L at both ends, which is half
            the gradient of L^2; 0 where the two points coincide.
        parameters: gradient of the mean of L^power over the pairs in each of the given parameters; None
            for a parameter that the outputs do not depend on.
    """

    quotients: Tensor
    gradients: Tensor
    parameters: tuple[Tensor | None, ...]


def difference_quotients(model: nn.Module, points: Tensor) -> Tensor:
    """Quotients of pairs, differentiable in the parameters and in the points.

    A pair whose points coincide has quotient 0 and gradient 0, where the quotient is undefined.

    Args:
        model: the network, which is run in its present mode.
        points: ``(m, 2, *input_shape)``, in the precision and on the device of the model.

    Returns:
        ``(m,)``.

    Raises:
        ValueError: the points have no such shape.
    """
    if points.dim() < 3 or points.shape[1] != 2:
        raise ValueError(f"points must have shape (m, 2, *input_shape), got {tuple(points.shape)}")
    return measure(points, outputs_of(model, points)).quotients


def see(
    model: nn.Module, points: Tensor, parameters: Sequence[Tensor] = (), power: Power = 1
) -> Seen:
    """Quotients of pairs and their gradients, from one forward and one backward pass.

    The gradients equal those that autograd computes for `difference_quotients`.

    Args:
        model: the network, which is run in its present mode.
        points: ``(m, 2, *input_shape)`` with m >= 1.
        parameters: parameters in which the gradient of the mean of L^power is computed, too.
        power: 1 or 2.
    """
    with torch.enable_grad():
        leaf = points.detach().requires_grad_()
        outputs = outputs_of(model, leaf)
    quotients, steps, changes, distances = measure(points, outputs.detach())
    inverse = _inverse(distances.square())
    # The backward pass differentiates a function of L^2 / 2: the sum over pairs without parameters, the
    # mean of L^power with parameters. `share` is the derivative of the mean, which is divided out of the
    # gradients in the inputs afterwards.
    share = None
    if parameters:
        share = torch.full_like(quotients, 2) if power == 2 else _inverse(quotients)
        share /= len(points)
    ahead = changes * (inverse if share is None else share * inverse)[:, None]
    cotangents = torch.stack((ahead, -ahead), dim=1)
    pulled, *found = _pull(outputs, [leaf, *parameters], cotangents)
    # Make the gradient contiguous, because it may be an expanded view of one number.
    gradients = torch.zeros_like(points) if pulled is None else pulled.contiguous()
    if share is not None:
        gradients.mul_(per_pair(_inverse(share), points))
    # The derivative of the distance in the denominator pulls the two points together.
    inward = steps.mul_(per_pair(quotients.square() * inverse, steps))
    gradients[:, 0] -= inward
    gradients[:, 1] += inward
    return Seen(quotients, gradients, tuple(found))


@contextlib.contextmanager
def judging(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode without autocast, because quotients are small differences of large numbers."""
    kind = device.type
    half = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    full = torch.autocast(kind, enabled=False) if half else contextlib.nullcontext()
    with evaluating(model), full:
        yield


def per_pair(values: Tensor, points: Tensor) -> Tensor:
    """Numbers ``(m,)`` in the shape ``(m, 1, ...)``, which broadcasts over the points of each pair."""
    return values.reshape(-1, *[1] * (points.dim() - 1))


class Measured(NamedTuple):
    """Quotients of m pairs, with numerators and denominators.

    Attributes:
        quotients: ``(m,)``.
        steps: x - x', ``(m, *input_shape)``.
        changes: f(x) - f(x'), ``(m, outputs)``.
        distances: |x - x'|, ``(m,)``.
    """

    quotients: Tensor
    steps: Tensor
    changes: Tensor
    distances: Tensor


def measure(points: Tensor, outputs: Tensor) -> Measured:
    """Quotients of pairs from their points and outputs, 0 where points coincide."""
    steps, changes = points[:, 0] - points[:, 1], outputs[:, 0] - outputs[:, 1]
    distances = torch.linalg.vector_norm(steps.flatten(1), dim=1)
    sizes = torch.linalg.vector_norm(changes, dim=1)
    apart = distances > 0
    quotients = torch.where(apart, sizes, 0) / torch.where(apart, distances, 1)
    return Measured(quotients, steps, changes, distances)


def outputs_of(model: nn.Module, points: Tensor) -> Tensor:
    """Outputs of a network at pairs ``(m, 2, *input_shape)``, flattened to ``(m, 2, outputs)``."""
    return model(points.flatten(0, 1)).flatten(1).unflatten(0, (len(points), 2))


def _inverse(values: Tensor) -> Tensor:
    """1 / value, and 0 for 0."""
    return torch.where(values == 0, 0, 1 / values)


def _pull(outputs: Tensor, inputs: list[Tensor], cotangents: Tensor) -> list[Tensor | None]:
    if not outputs.requires_grad:  # a constant
        return [None] * len(inputs)
    return list(torch.autograd.grad(outputs, inputs, cotangents, allow_unused=True))
