"""A lower bound of the Lipschitz constant: the largest Jacobian norm over a sample of inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clip.evaluation import differentiating, like_model
from clip.jacobian import Linearization, Singular, power_iteration, row_by_row


def lower_bound(
    model: nn.Module,
    images: Tensor,
    *,
    iterations: int | None = 20,
    ascent_steps: int = 0,
    ascent_step_size: float = 0.1,
    value_range: tuple[float, float] | None = None,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
) -> float:
    """Bound the Lipschitz constant of a network from below, at and around given images.

    The spectral norm of the Jacobian from inputs to outputs (logits, if the model returns them;
    normalisation that is part of the model counts), at the image where it is largest. Power
    iteration only approaches that norm, from below: more iterations give a better bound, none
    gives an upper one. Images must not influence each other's outputs in evaluation mode.

    Args:
        model: judged in evaluation mode, in its own precision and on its own device; modes and
            gradients are left as they were. Differentiated twice, unless iterations is None.
        images: ``(n, *input_shape)`` with n >= 1; converted to the model's precision and device.
        iterations: of the power method for each image, two vector-Jacobian products each. None
            computes whole Jacobians instead, one product per output: exact at every image, and
            cheaper for classifiers with few classes.
        ascent_steps: steps of gradient ascent on the norm from every image. Piecewise linear
            networks have no gradient to follow and stay where they are.
        ascent_step_size: length of a step, in the Euclidean norm of an input.
        value_range: lowest and highest value of an input that the ascent may reach; None leaves it
            free. Any point gives a valid bound of the constant over the whole space.
        batch_size: images at a time.
        generator: of the starting vectors; None always draws the same.

    Raises:
        ValueError: no images, a number that is out of range, or a Jacobian that is not finite.
    """
    _check(images, iterations, ascent_steps, ascent_step_size, batch_size)
    generator = generator or torch.Generator().manual_seed(0)
    largest = 0.0
    with differentiating(model):
        for chunk in images.split(batch_size):
            points = like_model(chunk, model)
            start = torch.randn(points.shape, generator=generator, device=generator.device)
            search = _Search(model, iterations, value_range)
            norms = search.run(points, like_model(start, model), ascent_steps, ascent_step_size)
            if not bool(norms.isfinite().all()):
                raise ValueError("a Jacobian of the network has a norm that is not finite")
            largest = max(largest, float(norms.max()))
    return largest


class _Search:
    """Jacobian norms along the paths of the ascent."""

    def __init__(
        self, model: nn.Module, iterations: int | None, value_range: tuple[float, float] | None
    ) -> None:
        self._model = model
        self._iterations = iterations
        self._value_range = value_range

    def run(self, points: Tensor, right: Tensor, steps: int, step_size: float) -> Tensor:
        """Largest norm on the path of each image, ``(batch,)``."""
        local = Linearization(self._model, points)
        singular = self._singular(local, right)
        largest = singular.norms
        for _ in range(steps):
            gradient = local.curvature(singular)
            lengths = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
            lengths = lengths.clamp(min=torch.finfo(lengths.dtype).tiny)
            lengths = lengths.reshape(-1, *[1] * (points.dim() - 1))
            points = points + step_size * gradient / lengths
            if self._value_range is not None:
                points = points.clamp(*self._value_range)
            local = Linearization(self._model, points)
            # The last vectors are a good start: the Jacobian has changed little.
            singular = self._singular(local, singular.right)
            largest = torch.maximum(largest, singular.norms)
        return largest.detach()

    def _singular(self, local: Linearization, right: Tensor) -> Singular:
        if self._iterations is None:
            return row_by_row(local)
        return power_iteration(local, right, self._iterations)


def _check(
    images: Tensor,
    iterations: int | None,
    ascent_steps: int,
    ascent_step_size: float,
    batch_size: int,
) -> None:
    if images.dim() < 2 or len(images) == 0:
        raise ValueError(
            f"images must have shape (n, *input_shape) with n >= 1, got {tuple(images.shape)}"
        )
    least = {"iterations": (iterations, 1), "ascent_steps": (ascent_steps, 0)}
    for name, (value, minimum) in {**least, "batch_size": (batch_size, 1)}.items():
        if value is not None and value < minimum:
            raise ValueError(f"{name}={value}: must be at least {minimum}")
    if not ascent_step_size > 0:
        raise ValueError(f"ascent_step_size={ascent_step_size}: must be positive")
