"""Any affine layer, convolutions above all, by vector-Jacobian products of its affine map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lifted.affine import AffineMap
from lifted.norms import power_norm


class VectorJacobianMap(AffineMap):
    """f as a chain of linear modules, at most one of which has parameters.

    Autograd differentiates this chain of linear modules and never an activation.

    Args:
        modules: Convolutions, linear layers, average pooling, flattening, in order.
    """

    def __init__(self, modules: list[nn.Module]) -> None:
        self._chain = nn.Sequential(*modules)

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for p in self._chain.parameters() if p.requires_grad]

    def forward(self, x: Tensor) -> Tensor:
        return self._chain(x)

    def adjoint(self, residual: Tensor, x: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            z = self._chain(leaf)
        return torch.autograd.grad(z, leaf, residual)[0]

    def gradients(self, x: Tensor, residual: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            z = self._chain(x)
        parameters = self.parameters
        return list(torch.autograd.grad(z, parameters, residual)) if parameters else []

    def input_norm(self, x: Tensor) -> Tensor:
        one = x[:1]
        offset = self._chain(torch.zeros_like(one))
        return power_norm(lambda v: self.adjoint(self._chain(v) - offset, v), one)

    def parameter_norm(self, x: Tensor) -> Tensor:
        parameters = self.parameters
        sizes = [parameter.numel() for parameter in parameters]

        def normal(v: Tensor) -> Tensor:
            # f is linear in all its parameters together, so its derivative in a direction is f itself.
            pairs = zip(v.split(sizes), parameters, strict=True)
            parts = [part.view_as(parameter) for part, parameter in pairs]
            image = functional_call(self._chain, self._direction(parts), (x,))
            return torch.cat([gradient.flatten() for gradient in self.gradients(x, image)])

        return power_norm(normal, x.new_empty(sum(sizes)))

    def _direction(self, parts: list[Tensor]) -> dict[str, Tensor]:
        """Trainable parameters replaced by a direction, frozen ones by zero."""
        moves = iter(parts)
        return {
            name: next(moves) if p.requires_grad else torch.zeros_like(p)
            for name, p in self._chain.named_parameters()
        }
