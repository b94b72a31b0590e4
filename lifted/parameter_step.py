"""Steps in the parameters of one layer with its input and target fixed: eqs. (17a) and (24).

The sub-problem is convex, whatever the activation:

    min over Theta_l of  1/|B| sum_i lambda_l [phi(f(x^i, Theta_l)) - <x_l^i, f(x^i, Theta_l)>]
                         + rho/2 |Theta_l - Theta_l^k|^2

with the gradient  1/|B| J^T (lambda_l (sigma(z) - x_l)) + rho (Theta_l - Theta_l^k).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from lifted.affine import DenseMap
from lifted.lift import Lift
from lifted.norms import REFRESH, DriftingNorm, gram_norm

#: Keeps the step size finite where inputs vanish and rho is 0.
FLOOR = 1e-12


class ParameterBlock(Protocol):
    """Gradient steps on the parameters of one layer; Theta^k are the parameters at construction."""

    def run(self, steps: int) -> None:
        """Take a number of steps; the pre-activations of the lift follow them."""
        ...

    def finish(self) -> None:
        """Make sure that the network's parameters are up to date."""
        ...


class DirectBlock:
    """The reference form: gradient steps on the parameters themselves, for any affine map.

    Args:
        lift: The variables.
        number: Index of the layer, from 0.
        rho: Proximal weight.
        scale: Step size in units of 1 / (Lipschitz constant), in (0, 2).
        moving: Whether the layer's input changes between steps.
    """

    def __init__(
        self, lift: Lift, number: int, *, rho: float, scale: float, moving: bool = False
    ) -> None:
        self._lift, self._number, self._rho, self._scale = lift, number, rho, scale
        self._affine = lift.network.layers[number].affine
        self._anchors = [p.clone() for p in self._affine.parameters] if rho else []
        self._drift = DriftingNorm() if moving and isinstance(self._affine, DenseMap) else None
        self._size: Tensor | None = None
        self._moving = moving
        self._calls = 0

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self._step()

    def _step(self) -> None:
        lift, number = self._lift, self._number
        x = lift.layer_input(number)
        if self._size is None or (self._moving and (self._drift or self._calls % REFRESH == 0)):
            self._size = self._step_size(x)
        self._calls += 1
        residual = lift.residual(number) * (self._size / -lift.samples)
        pull = self._size * self._rho
        for parameter, anchor in zip(
            self._affine.parameters, self._anchors, strict=bool(self._rho)
        ):
            parameter.lerp_(anchor, pull)
        self._affine.add_gradients_(x, residual)
        lift.parameters_changed(number)

    def finish(self) -> None:
        """Do nothing, because every step writes the parameters."""

    def _step_size(self, x: Tensor) -> Tensor:
        if self._drift is not None and x.ndim == 2:
            assert isinstance(self._affine, DenseMap)
            norm = self._drift(x) + self._affine.bias_norm(x)
        else:
            norm = self._affine.parameter_norm(x)
        return step_size(self._lift, self._number, norm, rho=self._rho, scale=self._scale)


class GramBlock:
    """The iterates of `DirectBlock` for a dense layer with a fixed input X, in |B| x outputs numbers.

    All iterates have the form Theta^k + X^T A, so the loop updates A with the Gram matrix K = X X^T,
    whose norm also gives the step size. The bias is the weight of one more input, which is always 1, so
    every entry of K grows by 1.
    """

    def __init__(self, lift: Lift, number: int, *, rho: float, scale: float) -> None:
        self._lift, self._number = lift, number
        affine = lift.network.layers[number].affine
        assert isinstance(affine, DenseMap)
        self._affine = affine
        x = lift.layer_input(number)
        self._gram = x @ x.T
        if affine.linear.bias is not None:
            self._gram += 1
        self._start = lift.preactivation(number)
        self._moves = torch.zeros_like(self._start)
        size = step_size(lift, number, gram_norm(self._gram), rho=rho, scale=scale)
        self._keep = 1 - size * rho
        self._rate = size / lift.samples

    def run(self, steps: int) -> None:
        lift, number, moves = self._lift, self._number, self._moves
        keep, rate, start, gram = self._keep, self._rate, self._start, self._gram
        residual, z = lift.residual_map(number), lift.preactivation(number)
        for _ in range(steps):
            moves.mul_(keep).sub_(residual(z).mul_(rate))
            z = torch.addmm(start, gram, moves)
        lift.parameters_changed(number, z)

    def finish(self) -> None:
        self._affine.add_gradients_(self._lift.layer_input(self._number), self._moves)


def parameter_block(
    lift: Lift, number: int, *, rho: float, scale: float, moving: bool = False, gram: bool = True
) -> ParameterBlock:
    """The Gram form for a dense layer with a fixed input and a small batch, else the direct form."""
    affine = lift.network.layers[number].affine
    x = lift.layer_input(number)
    if (
        gram
        and not moving
        and isinstance(affine, DenseMap)
        and x.ndim == 2
        and len(x) <= 2 * x.shape[1]
    ):
        return GramBlock(lift, number, rho=rho, scale=scale)
    return DirectBlock(lift, number, rho=rho, scale=scale, moving=moving)


def step_size(lift: Lift, number: int, norm: Tensor, *, rho: float, scale: float) -> Tensor:
    """`scale / (c |[X, 1]|^2 / |B| + rho)`, c the curvature of the penalty, rho of the proximal term."""
    factor = lift.curvature(number) / (lift.samples * scale)
    return (norm * factor + (rho + FLOOR) / scale).reciprocal()
