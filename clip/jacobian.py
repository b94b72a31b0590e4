"""Norms of the Jacobians of a network at a batch of inputs, all images at once.

In evaluation mode an image's output depends on that image alone, so one vector-Jacobian product of
the whole batch serves every image. J v is the derivative of J^T u with respect to u (a vector-
Jacobian product applied twice): the graph of J^T u is recorded once and then works like a layer,
which needs no forward-mode rules of the model's operations and no repeated forward pass.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Singular(NamedTuple):
    """Estimates of the largest singular value of each Jacobian and of its vectors.

    Attributes:
        norms: ``(batch,)``, |J v| with |v| = 1, so never more than the spectral norm.
        left: ``(batch, outputs)``, unit vectors.
        right: ``(batch, *input_shape)``, unit vectors.
    """

    norms: Tensor
    left: Tensor
    right: Tensor


class Linearization:
    """A network near a batch of inputs: products with its Jacobians.

    Args:
        model: the network, in evaluation mode.
        images: ``(batch, *input_shape)``, in the precision and on the device of the model.

    Attributes:
        inputs: the images, as the leaf of the autograd graph.
        outputs: ``(batch, outputs)``, flattened.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.inputs = images.detach().requires_grad_()
        self.outputs = model(self.inputs).flatten(1)
        self._cotangents: Tensor | None = None
        self._pulled: Tensor | None = None

    def pull(self, left: Tensor) -> Tensor:
        """J^T u for each image: ``(batch, outputs)`` to ``(batch, *input_shape)``."""
        return _gradient(self.outputs, self.inputs, left)

    def push(self, right: Tensor) -> Tensor:
        """J v for each image: ``(batch, *input_shape)`` to ``(batch, outputs)``."""
        if self._cotangents is None or self._pulled is None:
            self._cotangents = torch.zeros_like(self.outputs, requires_grad=True)
            self._pulled = _gradient(self.outputs, self.inputs, self._cotangents, record=True)
        return _gradient(self._pulled, self._cotangents, right)

    def curvature(self, singular: Singular) -> Tensor:
        """Gradient of u^T J(x) v in x, which is the gradient of the norm at the singular vectors u, v."""
        pulled = _gradient(self.outputs, self.inputs, singular.left, record=True)
        return _gradient((pulled * singular.right).sum(), self.inputs, None)


def power_iteration(local: Linearization, right: Tensor, iterations: int) -> Singular:
    """Power iteration on J^T J, for every image of the batch.

    Args:
        local: the linearised network.
        right: ``(batch, *input_shape)``, the starting vectors.
        iterations: number of iterations, at least 1; each takes two products.
    """
    right = _normalized(right)
    for _ in range(iterations - 1):
        right = _normalized(local.pull(local.push(right)))
    pushed = local.push(right)
    return Singular(_norms(pushed), _normalized(pushed), right)


def row_by_row(local: Linearization) -> Singular:
    """Exact singular values from the whole Jacobian, with one product per output.

    Raises:
        ValueError: a Jacobian is not finite.
    """
    units = torch.eye(local.outputs.shape[1], dtype=local.outputs.dtype)
    units = units.to(local.outputs.device)
    rows = [local.pull(unit.expand_as(local.outputs)).flatten(1) for unit in units]
    jacobians = torch.stack(rows, dim=1)  # (batch, outputs, inputs)
    if not bool(jacobians.isfinite().all()):
        raise ValueError("a Jacobian of the network has entries that are not finite")
    _, vectors = torch.linalg.eigh(jacobians @ jacobians.mT)
    left = vectors[..., -1]
    pulled = (left[:, None] @ jacobians)[:, 0]
    return Singular(_norms(pulled), left, _normalized(pulled).reshape(local.inputs.shape))


def _gradient(
    outputs: Tensor, inputs: Tensor, cotangents: Tensor | None, *, record: bool = False
) -> Tensor:
    """A vector-Jacobian product that leaves the graph and the gradients of parameters alone."""
    if not outputs.requires_grad:  # a constant
        return torch.zeros_like(inputs)
    (result,) = torch.autograd.grad(
        outputs,
        inputs,
        cotangents,
        retain_graph=True,
        create_graph=record,
        allow_unused=True,
        materialize_grads=True,
    )
    return result


def _norms(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors.flatten(1), dim=1)


def _normalized(vectors: Tensor) -> Tensor:
    """Vectors scaled to norm 1; a vector of zeros stays zero."""
    norms = _norms(vectors).clamp(min=torch.finfo(vectors.dtype).tiny)
    return vectors / norms.reshape(-1, *[1] * (vectors.dim() - 1))
