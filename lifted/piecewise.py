"""Piecewise linear activations, whose proximal maps are formulas: identity, ReLU, soft threshold.

Wang and Benning (2023), Examples 1 and 2; the printed loss of the soft threshold is corrected
(docs/methods/lifted.md).
"""

from __future__ import annotations

from torch import Tensor

from bregman.validation import check_non_negative
from lifted.activation import Activation, all_features, sum_features


class Identity(Activation):
    """sigma(z) = z, Psi = 0; the Bregman loss is half the squared error."""

    closed_prox = True

    def forward(self, z: Tensor) -> Tensor:
        return z

    def phi(self, z: Tensor) -> Tensor:
        return sum_features(z.square()) / 2

    def prox(self, v: Tensor, t: float | Tensor) -> Tensor:
        return v

    def project(self, x: Tensor) -> Tensor:
        return x

    def feasible(self, x: Tensor) -> Tensor:
        return all_features(x == x)

    def _finite_kernel(self, x: Tensor) -> Tensor:
        return sum_features(x.square()) / 2

    def _finite_loss(self, x: Tensor, z: Tensor) -> Tensor:
        return sum_features((x - z).square()) / 2


class ReLU(Activation):
    """sigma(z) = max(z, 0); Psi is 0 for x >= 0 and infinite otherwise."""

    closed_prox = True
    nonnegative = True

    def forward(self, z: Tensor) -> Tensor:
        return z.relu()

    def phi(self, z: Tensor) -> Tensor:
        return sum_features(z.relu().square()) / 2

    def prox(self, v: Tensor, t: float | Tensor) -> Tensor:
        return v.relu()

    def project(self, x: Tensor) -> Tensor:
        return x.relu()

    def feasible(self, x: Tensor) -> Tensor:
        return all_features(x >= 0)

    def _finite_kernel(self, x: Tensor) -> Tensor:
        return sum_features(x.square()) / 2

    def _finite_loss(self, x: Tensor, z: Tensor) -> Tensor:
        active = z.relu()
        return sum_features((x - active).square() / 2 + x * (active - z))


class SoftThreshold(Activation):
    """sigma(z) = sign(z) max(abs(z) - alpha, 0), Psi = alpha |x|_1; outputs have exact zeros.

    Args:
        alpha: The threshold, >= 0.

    Raises:
        ValueError: alpha is negative or not finite.
    """

    closed_prox = True

    def __init__(self, alpha: float = 0.5) -> None:
        super().__init__()
        check_non_negative("alpha", alpha)
        self.alpha = float(alpha)

    def forward(self, z: Tensor) -> Tensor:
        return z - z.clamp(-self.alpha, self.alpha)

    def phi(self, z: Tensor) -> Tensor:
        return sum_features(self(z).square()) / 2

    def prox(self, v: Tensor, t: float | Tensor) -> Tensor:
        return shrink(v, self.alpha * t)

    def project(self, x: Tensor) -> Tensor:
        return x

    def feasible(self, x: Tensor) -> Tensor:
        return all_features(x == x)

    def _finite_kernel(self, x: Tensor) -> Tensor:
        return sum_features(x.square() / 2 + self.alpha * x.abs())

    def _finite_loss(self, x: Tensor, z: Tensor) -> Tensor:
        # z = sigma(z) + clip(z): both brackets are non-negative.
        clipped = z.clamp(-self.alpha, self.alpha)
        distance = (x - (z - clipped)).square() / 2
        return sum_features(distance + (self.alpha * x.abs() - x * clipped))

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


def shrink(v: Tensor, threshold: float | Tensor) -> Tensor:
    """`sign(v) max(abs(v) - threshold, 0)` with a threshold that may be a tensor."""
    return v - v.clamp(-threshold, threshold)  # pyright: ignore[reportArgumentType,reportCallIssue]
