"""The map f(x, Theta) of a layer, affine in x and linear in Theta, as solvers use it.

The pre-activation z = f(x, Theta) connects two auxiliary variables. Solvers apply f, its adjoint in x
and its adjoint in Theta (J_f^x and J_f^Theta of eq. (17)), and choose step sizes by its norms.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional

from lifted.norms import squared_norm


class AffineMap(ABC):
    """f of one layer; rows of every tensor are samples."""

    @property
    @abstractmethod
    def parameters(self) -> list[nn.Parameter]:
        """Theta: the parameters that training may change."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """f(x, Theta)."""

    @abstractmethod
    def adjoint(self, residual: Tensor, x: Tensor) -> Tensor:
        """The derivative of `<residual, f(x, Theta)>` in x, of which only the shape of x is read."""

    @abstractmethod
    def gradients(self, x: Tensor, residual: Tensor) -> list[Tensor]:
        """The derivatives of `<residual, f(x, Theta)>` in the parameters, summed over samples."""

    @abstractmethod
    def input_norm(self, x: Tensor) -> Tensor:
        """A bound on the squared norm of the linear part of x -> f(x, Theta), for one sample of x."""

    @abstractmethod
    def parameter_norm(self, x: Tensor) -> Tensor:
        """A bound on the squared norm of Theta -> f(x, Theta) for the whole batch x."""

    def add_gradients_(self, x: Tensor, residual: Tensor) -> None:
        """`Theta <- Theta + gradients(x, residual)`."""
        for parameter, gradient in zip(self.parameters, self.gradients(x, residual), strict=True):
            parameter.add_(gradient)


class DenseMap(AffineMap):
    """f(x, Theta) = W x + b of a linear layer; torch keeps W as (outputs, inputs)."""

    def __init__(self, linear: nn.Linear) -> None:
        self.linear = linear
        # The look-up of a parameter as an attribute costs as much as a small matrix product.
        self._own = linear._parameters

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.linear.parameters())

    def forward(self, x: Tensor) -> Tensor:
        weight = self._own["weight"]
        assert weight is not None
        return functional.linear(x, weight, self._own["bias"])

    def adjoint(self, residual: Tensor, x: Tensor) -> Tensor:
        weight = self._own["weight"]
        assert weight is not None
        return residual @ weight

    def gradients(self, x: Tensor, residual: Tensor) -> list[Tensor]:
        rows = _rows(residual)
        weight = rows.T @ _rows(x)
        return [weight] if self.linear.bias is None else [weight, rows.sum(0)]

    def input_norm(self, x: Tensor) -> Tensor:
        return squared_norm(self.linear.weight)

    def parameter_norm(self, x: Tensor) -> Tensor:
        return squared_norm(_rows(x)) + self.bias_norm(x)

    def bias_norm(self, x: Tensor) -> int:
        """The number of rows if there is a bias, else 0: |[X, 1]|^2 <= |X|^2 + rows."""
        return 0 if self.linear.bias is None else x.numel() // x.shape[-1]

    def add_gradients_(self, x: Tensor, residual: Tensor) -> None:
        rows = _rows(residual)
        self.linear.weight.addmm_(rows.T, _rows(x))
        if self.linear.bias is not None:
            self.linear.bias.add_(rows.sum(0))


def _rows(x: Tensor) -> Tensor:
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def is_dense(modules: list[nn.Module]) -> bool:
    """Whether `DenseMap` covers these modules: one linear layer with nothing frozen."""
    return (
        len(modules) == 1
        and type(modules[0]) is nn.Linear
        and all(parameter.requires_grad for parameter in modules[0].parameters())
    )
