"""Activations as proximal maps of convex functions Psi, and the Bregman losses that Psi defines.

Wang and Benning, "Lifted Bregman training of neural networks", JMLR 24(232), 2023, section 3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Activation(nn.Module, ABC):
    r"""sigma = prox_Psi as a module, with the functions of Psi that lifted training uses.

    The first axis counts samples, all others are features. Functions with values in the real numbers
    sum over features and return the shape (samples,). With the conjugate pair

        kernel(x) = |x|^2 / 2 + Psi(x),        phi = kernel*,        grad phi = sigma,

    the Bregman loss of eq. (12) is `B(x, z) = kernel(x) + phi(z) - <x, z>`: a Fenchel-Young loss.

    Attributes:
        closed_prox: Whether `prox` is a formula; otherwise it solves equations and a mirror step is
            the cheaper way to move x.
        nonnegative: Whether dom Psi lies in x >= 0, where the l1 norm is linear.
    """

    closed_prox: ClassVar[bool] = False
    nonnegative: ClassVar[bool] = False

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """sigma(z), same shape as z."""

    @abstractmethod
    def phi(self, z: Tensor) -> Tensor:
        """The conjugate of `|.|^2 / 2 + Psi`, shape (samples,); its gradient is sigma."""

    @abstractmethod
    def prox(self, v: Tensor, t: float | Tensor) -> Tensor:
        """`argmin_x |x - v|^2 / 2 + t Psi(x)` for t > 0; at t = 1 the minimiser is sigma(v)."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The point of the closure of dom Psi that is nearest to x."""

    @abstractmethod
    def feasible(self, x: Tensor) -> Tensor:
        """Whether each sample lies in dom Psi, shape (samples,)."""

    @abstractmethod
    def _finite_kernel(self, x: Tensor) -> Tensor:
        """`kernel(x)` for feasible x and any number, without an error, for other x; shape (samples,)."""

    @abstractmethod
    def _finite_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """`bregman_loss(x, z)` for feasible x in a form without cancellation; shape (samples,)."""

    def kernel(self, x: Tensor) -> Tensor:
        """`|x|^2 / 2 + Psi(x)`, shape (samples,); infinite outside dom Psi."""
        return _infinite_unless(self.feasible(x), self._finite_kernel(x))

    def psi(self, x: Tensor) -> Tensor:
        """Psi(x), shape (samples,); infinite outside dom Psi."""
        return self.kernel(x) - sum_features(x.square()) / 2

    def prox_phi(self, z: Tensor, t: float | Tensor) -> Tensor:
        """`argmin_y |y - z|^2 / 2 + t phi(y)` by the extended Moreau identity."""
        return z - t * self.prox(z / (1 + t), 1 / (1 + t))

    def bregman_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """B(x, z) of eq. (12): zero where x = sigma(z), and at least |x - sigma(z)|^2 / 2.

        The loss is differentiable in z. Its gradient is the formula sigma(z) - x of Lemma 8, and
        autograd does not trace sigma. The loss is differentiable in x where the kernel is.

        Args:
            x: Activations, (samples, ...); samples outside dom Psi cost infinity.
            z: Pre-activations, the shape of x.

        Returns:
            One value per sample, (samples,).

        Raises:
            ValueError: The shapes differ.
        """
        if x.shape != z.shape:
            raise ValueError(
                f"x and z differ in shape: {tuple(x.shape)} and {tuple(z.shape)} (class labels "
                "must be one-hot vectors)"
            )
        value = _BregmanLoss.apply(x, z, self)
        assert isinstance(value, Tensor)
        return value


class _BregmanLoss(torch.autograd.Function):
    """Eq. (12) with its gradients, so that autograd never enters an activation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, z: Tensor, activation: Activation) -> Tensor:
        ctx.save_for_backward(x, z)
        ctx.activation = activation
        return _infinite_unless(activation.feasible(x), activation._finite_loss(x, z))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Any
    ) -> tuple[Tensor | None, Tensor | None, None]:
        x, z = ctx.saved_tensors
        scale = grads[0].reshape(-1, *[1] * (x.ndim - 1))
        grad_x = grad_z = None
        if ctx.needs_input_grad[0]:
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                kernel = ctx.activation._finite_kernel(leaf).sum()
            grad_x = scale * (torch.autograd.grad(kernel, leaf)[0] - z)
        if ctx.needs_input_grad[1]:
            grad_z = scale * (ctx.activation(z) - x)
        return grad_x, grad_z, None


def sum_features(values: Tensor) -> Tensor:
    """Sum over all axes but the first: (samples, ...) to (samples,)."""
    return values.flatten(1).sum(1) if values.ndim > 1 else values


def all_features(flags: Tensor) -> Tensor:
    """Whether a condition holds for all features of a sample: (samples, ...) to (samples,)."""
    return flags.flatten(1).all(1) if flags.ndim > 1 else flags


def _infinite_unless(feasible: Tensor, values: Tensor) -> Tensor:
    return torch.where(feasible, values, torch.inf)
