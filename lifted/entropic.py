"""Smooth activations, whose kernels are entropies: tanh, sigmoid, softmax.

Wang and Benning (2023), Examples 1 and 2, written without overflow. The sigmoid, which the paper
leaves out, is the proximal map of the binary entropy minus |x|^2 / 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lifted.activation import Activation, all_features, sum_features
from lifted.newton import entropy_prox, solve_tanh


class Tanh(Activation):
    """sigma = tanh; kernel(x) = ((1 + x) log(1 + x) + (1 - x) log(1 - x)) / 2 on [-1, 1]."""

    def forward(self, z: Tensor) -> Tensor:
        return z.tanh()

    def phi(self, z: Tensor) -> Tensor:
        size = z.abs()
        return sum_features(size + torch.log1p(torch.exp(-2 * size)) - math.log(2))

    def prox(self, v: Tensor, t: float | Tensor) -> Tensor:
        # Optimality: (1 - t) x + t atanh(x) = v.
        return solve_tanh(1 - t, t, v).tanh()

    def project(self, x: Tensor) -> Tensor:
        return x.clamp(-1, 1)

    def feasible(self, x: Tensor) -> Tensor:
        return all_features(x.abs() <= 1)

    def _finite_kernel(self, x: Tensor) -> Tensor:
        x = x.clamp(-1, 1)
        return sum_features(torch.xlogy(1 + x, 1 + x) + torch.xlogy(1 - x, 1 - x)) / 2

    def _finite_loss(self, x: Tensor, z: Tensor) -> Tensor:
        size = z.abs()
        rest = size * (1 - x * z.sign()) + torch.log1p(torch.exp(-2 * size)) - math.log(2)
        return (self._finite_kernel(x) + sum_features(rest)).clamp(min=0)


class Sigmoid(Activation):
    """sigma(z) = 1 / (1 + exp(-z)); kernel(x) = x log x + (1 - x) log(1 - x) on [0, 1].

    The Bregman loss is binary cross-entropy with logits, summed over features.
    """

    nonnegative = True

    def forward(self, z: Tensor) -> Tensor:
        return z.sigmoid()

    def phi(self, z: Tensor) -> Tensor:
        return sum_features(z.relu() + torch.log1p(torch.exp(-z.abs())))

    def prox(self, v: Tensor, t: float | Tensor) -> Tensor:
        # Optimality: (1 - t) x + t logit(x) = v. With x = (1 + tanh q) / 2 `solve_tanh` solves it.
        return (2 * solve_tanh(1 - t, 4 * t, 2 * v - (1 - t))).sigmoid()

    def project(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)

    def feasible(self, x: Tensor) -> Tensor:
        return all_features((x >= 0) & (x <= 1))

    def _finite_kernel(self, x: Tensor) -> Tensor:
        x = x.clamp(0, 1)
        return sum_features(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x))

    def _finite_loss(self, x: Tensor, z: Tensor) -> Tensor:
        size = z.abs()
        rest = size * torch.where(z > 0, 1 - x, x) + torch.log1p(torch.exp(-size))
        return (self._finite_kernel(x) + sum_features(rest)).clamp(min=0)


class Softmax(Activation):
    """sigma = softmax along `dim`; kernel(x) = sum x log x on the unit simplex.

    The Bregman loss is the Kullback-Leibler divergence of x from softmax(z), which for one-hot x is
    cross-entropy with logits.

    Args:
        dim: Axis of the simplex; 1 for the channels of images.
    """

    nonnegative = True

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, z: Tensor) -> Tensor:
        return z.softmax(self.dim)

    def phi(self, z: Tensor) -> Tensor:
        return sum_features(z.logsumexp(self.dim))

    def prox(self, v: Tensor, t: float | Tensor) -> Tensor:
        return entropy_prox(v, t, self.dim)

    def project(self, x: Tensor) -> Tensor:
        ordered = x.movedim(self.dim, -1)
        sums, ranks = _excess(ordered)
        shift = (sums / ranks).amax(-1, keepdim=True)
        return (ordered - shift).relu().movedim(-1, self.dim)

    def feasible(self, x: Tensor) -> Tensor:
        # A sum of rounded numbers is 1 only up to a tolerance.
        tolerance = 8 * torch.finfo(x.dtype).eps * max(8, x.shape[self.dim])
        one = (x.sum(self.dim, keepdim=True) - 1).abs() <= tolerance
        return all_features(x >= 0) & all_features(one)

    def _finite_kernel(self, x: Tensor) -> Tensor:
        x = x.relu()
        return sum_features(torch.xlogy(x, x))

    def _finite_loss(self, x: Tensor, z: Tensor) -> Tensor:
        divergence = self._finite_kernel(x) - sum_features(x * z.log_softmax(self.dim))
        return divergence.clamp(min=0)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


def _excess(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of the k largest entries minus 1, and k, along the last axis."""
    largest = x.sort(dim=-1, descending=True).values
    ranks = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
    return largest.cumsum(-1) - 1, ranks
