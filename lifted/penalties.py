"""Penalties that tie a hidden layer to the layer below: Bregman (13), classical (7), MAC-QP (6).

The last layer always carries a Bregman loss. As in the paper, (6) and (7) have no factor 1/2, whereas
the Bregman penalty is at least half the squared distance: a weight of 1/2 on (6) or (7) corresponds to
a weight of 1 on (13).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from bregman.validation import check_choice
from lifted.activation import Activation, sum_features
from lifted.choices import PenaltyName
from lifted.piecewise import Identity


class Penalty(ABC):
    """P(x, z) between an auxiliary variable x and the pre-activation z = f(x below).

    As a function of x, P is `scale * (kernel(x) - <x, anchor(z)>)` up to a constant, with the kernel of
    an activation. A step in x uses these three parts only.

    Attributes:
        scale: The factor of kernel and anchor, and the Lipschitz constant of `residual` in z.
    """

    scale: float = 1.0

    @abstractmethod
    def value(self, activation: Activation, x: Tensor, z: Tensor) -> Tensor:
        """P(x, z), shape (samples,)."""

    @abstractmethod
    def residual(self, activation: Activation, x: Tensor, z: Tensor) -> Tensor:
        """The gradient of P in z, of the shape of z."""

    def anchor(self, activation: Activation, z: Tensor) -> Tensor:
        """The subgradient of the kernel at the minimiser of P in x, of the shape of z."""
        return z

    def kernel(self, activation: Activation) -> Activation:
        """The activation whose Psi constrains x."""
        return activation


class BregmanPenalty(Penalty):
    """B(x, z) of eq. (12): zero only where x = sigma(z), convex in x, and convex in z."""

    def value(self, activation: Activation, x: Tensor, z: Tensor) -> Tensor:
        return activation.bregman_loss(x, z)

    def residual(self, activation: Activation, x: Tensor, z: Tensor) -> Tensor:
        return activation.forward(z) - x  # `activation(z)` would cost as much again as a small ReLU


class ClassicalPenalty(Penalty):
    """|x - z|^2 + 2 Psi(x) for x in dom Psi; lifted training with it fits an affine network (2.3.2)."""

    scale = 2.0

    def value(self, activation: Activation, x: Tensor, z: Tensor) -> Tensor:
        return sum_features((x - z).square()) + 2 * activation.psi(x)

    def residual(self, activation: Activation, x: Tensor, z: Tensor) -> Tensor:
        return 2 * (z - x)


class QuadraticPenalty(Penalty):
    """MAC-QP, |x - sigma(z)|^2: the only penalty whose gradient differentiates the activation.

    The penalty is not convex in z. `scale` bounds its curvature for ReLU with x >= 0; for other
    activations it does so near x = sigma(z) only.
    """

    scale = 2.0

    def value(self, activation: Activation, x: Tensor, z: Tensor) -> Tensor:
        return sum_features((x - activation(z)).square())

    def residual(self, activation: Activation, x: Tensor, z: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            active = activation(leaf)
        return torch.autograd.grad(active, leaf, 2 * (active.detach() - x))[0]

    def anchor(self, activation: Activation, z: Tensor) -> Tensor:
        return activation(z)

    def kernel(self, activation: Activation) -> Activation:
        return _FREE


_FREE = Identity()
_PENALTIES: dict[str, Penalty] = {
    "bregman": BregmanPenalty(),
    "classical": ClassicalPenalty(),
    "mac": QuadraticPenalty(),
}


def make_penalty(name: str) -> Penalty:
    """The penalty called `bregman`, `classical` or `mac`.

    Raises:
        ValueError: The name is unknown.
    """
    check_choice("penalty", name, PenaltyName)
    return _PENALTIES[name]
