"""Newton iterations for the proximal maps of scaled entropies, which have no formula.

Every iteration starts on the side of the root from which Newton's method is monotone for a convex or
concave function. It needs no safeguard, and a fixed number of iterations avoids host synchronisation.
"""

from __future__ import annotations

import torch
from torch import Tensor

ITERATIONS = 30


def solve_tanh(a: float | Tensor, b: float | Tensor, w: Tensor) -> Tensor:
    """The p with `a tanh(p) + b p = w`, for b > 0 and a + b > 0.

    For p > 0 the function `a tanh(p) + b p` is concave if a > 0 and convex if a < 0. In both cases
    Newton's method from `w / (a + b)` is monotone.
    """
    size = w.abs()
    p = size / (a + b)
    for _ in range(ITERATIONS):
        tanh = p.tanh()
        p = p - (a * tanh + b * p - size) / (a * (1 - tanh.square()) + b)
    return torch.copysign(p, w)


def solve_exp(t: float | Tensor, w: Tensor) -> Tensor:
    """The u <= 0 with `(1 - t) exp(u) + t u = w`, for t > 0 and w <= 1 - t."""
    u = (w / t).clamp(max=0)
    for _ in range(ITERATIONS):
        exp = (1 - t) * u.exp()
        u = (u - (exp + t * u - w) / (exp + t)).clamp(max=0)
    return u


def entropy_prox(v: Tensor, t: float | Tensor, dim: int) -> Tensor:
    """`argmin |x - v|^2 / 2 + t (sum x log x - |x|^2 / 2)` over the unit simplex along `dim`.

    Optimality reads `(1 - t) x_i + t log x_i = v_i - mu` with the mu for which sum x = 1. The sum of x
    is convex and decreasing in mu; it is at least 1 at the first mu, for which the largest entry is 1.
    """
    mu = v.amax(dim, keepdim=True) - (1 - t)
    for _ in range(ITERATIONS):
        x = solve_exp(t, v - mu).exp()
        slope = (x / ((1 - t) * x + t)).sum(dim, keepdim=True)
        mu = mu + (x.sum(dim, keepdim=True) - 1) / slope
    return solve_exp(t, v - mu).exp()
