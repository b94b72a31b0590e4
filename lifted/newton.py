"""Newton iterations for the proximal maps of scaled entropies, which have no formula.

Every start is on the side from which Newton's method is monotone on a convex or concave function,
so no safeguard and no look at the host is needed; the number of iterations is fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor

ITERATIONS = 30


def solve_tanh(a: float | Tensor, b: float | Tensor, w: Tensor) -> Tensor:
    """The p with `a tanh(p) + b p = w`, for b > 0 and a + b > 0.

    On p > 0 the left side is concave where a > 0 and convex where a < 0; `w / (a + b)` lies on the
    right side of the root in both cases.
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

    Optimality reads `(1 - t) x_i + t log x_i = v_i - mu` with the mu that makes sum x = 1. That sum
    is convex and decreasing in mu, and at least 1 at the start, where the largest entry is 1.
    """
    mu = v.amax(dim, keepdim=True) - (1 - t)
    for _ in range(ITERATIONS):
        x = solve_exp(t, v - mu).exp()
        slope = (x / ((1 - t) * x + t)).sum(dim, keepdim=True)
        mu = mu + (x.sum(dim, keepdim=True) - 1) / slope
    return solve_exp(t, v - mu).exp()
