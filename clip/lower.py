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

    The bound is the largest spectral norm, over the images, of the Jacobian from inputs to outputs. The
    outputs are logits if the model returns logits, and normalisation within the model counts. Power
    iteration approaches the norm from below, so more iterations give a better bound. Images must not
    influence each other's outputs in evaluation mode.

    Args:
        model: the network; it runs in evaluation mode, in its own precision and on its own device, and
            its modes and gradients do not change. The model is differentiated twice, unless iterations
            is None and there is no ascent.
        images: ``(n, *input_shape)`` with n >= 1; converted to the model's precision and device.
        iterations: iterations of the power method for each image, with two vector-Jacobian products
            each. None computes whole Jacobians, with one product per output: exact at every image, and
            cheaper for classifiers with few classes.
        ascent_steps: steps of gradient ascent on the norm from every image. Piecewise linear
            networks have no such gradient, so that their images do not move.
        ascent_step_size: length of a step, in the Euclidean norm of an input.
        value_range: lowest and highest value of an input during the ascent; None for no limits. Every
            point gives a valid lower bound of the constant over the whole space.
        batch_size: number of images in one forward pass.
        generator: random generator of the starting vectors; None always draws the same vectors.

    Raises:
        ValueError: there are no images, a number is out of range, or a Jacobian is not finite.
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
            # Start from the last vectors, because the Jacobian has changed little.
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
