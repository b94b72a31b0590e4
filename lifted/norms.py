"""Cheap bounds on squared spectral norms, for safe step sizes, without host synchronisation."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

#: Up to this size the bound by squaring a Gram matrix is cheaper than a power iteration.
SMALL = 256
POWER_ITERATIONS = 15
#: Factor of the result of a power iteration, which approaches the squared norm from below.
POWER_MARGIN = 1.1
#: Steps between two computations of the norm of a matrix that changes with every step.
REFRESH = 8


def gram_norm(gram: Tensor) -> Tensor:
    """An upper bound of the largest eigenvalue of a positive semi-definite matrix, a scalar.

    `(trace of gram^16)^(1/16)`: at most n^(1/16) times too large (1.3 for n = 64), and nearly exact
    where one eigenvalue dominates, as it does for activations with a common mean.
    """
    scale = gram.norm().clamp(min=torch.finfo(gram.dtype).tiny)
    power = gram / scale  # entries at most 1, largest eigenvalue at least n^(-1/2): no underflow
    for _ in range(3):
        power = power @ power
    return scale * power.norm() ** 0.125


def squared_norm(matrix: Tensor) -> Tensor:
    """A bound on the squared spectral norm of a matrix; an estimate if both sides exceed `SMALL`."""
    rows, columns = matrix.shape
    if min(rows, columns) <= SMALL:
        return gram_norm(matrix @ matrix.T if rows <= columns else matrix.T @ matrix)
    return power_norm(lambda v: matrix.T @ (matrix @ v), matrix.new_empty(columns))


def power_norm(normal: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The largest eigenvalue of a positive semi-definite operator, times a margin of 10 %.

    Args:
        normal: v -> A^T A v.
        like: A tensor with the shape, type and device of v.
    """
    v = _start(tuple(like.shape), like.dtype, like.device)
    value = v.new_zeros(())
    for _ in range(POWER_ITERATIONS):
        image = normal(v)
        value = image.norm()
        v = image / value.clamp(min=torch.finfo(v.dtype).tiny)
    return POWER_MARGIN * value


class DriftingNorm:
    """A bound on the squared norm of a matrix that moves a little with every call.

    Every few calls the bound is computed anew. Between two computations, |A| <= |A_0| + |A - A_0|_F
    bounds the norm at a fraction of the cost, where A_0 is the matrix of the last computation.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._norm = self._matrix = torch.empty(0)

    def __call__(self, matrix: Tensor) -> Tensor:
        fresh = self._calls % REFRESH == 0
        self._calls += 1
        if fresh:
            self._matrix = matrix.clone()
            squared = squared_norm(matrix)
            self._norm = squared.sqrt()
            return squared
        return (self._norm + torch.dist(matrix, self._matrix)).square()


@lru_cache(maxsize=64)
def _start(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The same random unit vector every time, so that runs repeat exactly."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (v / v.norm()).to(dtype=dtype, device=device)
