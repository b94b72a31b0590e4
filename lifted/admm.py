"""The convex sub-problems by ADMM: appendix B.2 and Example 4, with corrected updates.

Both sub-problems split off z = f(x, Theta), so that one step is a least-squares problem with a fixed
matrix and the other step is a prox of phi, which the extended Moreau identity turns into a prox of Psi.
docs/methods/lifted.md lists the misprints of the paper. Layers must be dense, penalties Bregman's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lifted.affine import DenseMap
from lifted.lift import Lift
from lifted.penalties import BregmanPenalty

#: Relative size of the term that makes the normal equations solvable; the term moves no minimiser.
RIDGE = 1e-6


def admm_parameters(
    lift: Lift, number: int, iterations: int, *, delta: float = 1.0, rho: float = 0.0
) -> None:
    """Minimise eq. (37a) over a batch plus rho/2 |Theta - Theta^k|^2 over Theta_l, in place.

    Args:
        lift: The variables.
        number: Index of the layer, from 0.
        iterations: ADMM iterations.
        delta: Weight of the augmented term.
        rho: Proximal weight next to the batch mean.

    Raises:
        ValueError: The layer is not dense, or its penalty is not the Bregman penalty.
    """
    affine, activation = _dense(lift, number), lift.network.layers[number].activation
    x, target = lift.layer_input(number), lift.target(number)
    rows = x if affine.linear.bias is None else torch.cat([x, torch.ones_like(x[:, :1])], 1)
    theta = _stack(affine)
    anchor = theta.clone()
    # Both terms are divided by delta: `pull` draws to the anchor, `ridge` to the last iterate.
    pull = rho * lift.samples / (lift.network.lam[number] * delta)
    normal = rows.T @ rows
    ridge = RIDGE * normal.diagonal().mean()
    eye = torch.eye(len(normal), dtype=x.dtype, device=x.device)
    factor = _cholesky(normal + (pull + ridge) * eye)
    z, mu = lift.preactivation(number).clone(), torch.zeros_like(target)
    for _ in range(iterations):
        right = rows.T @ (z + mu / delta) + pull * anchor + ridge * theta
        theta = torch.cholesky_solve(right, factor)
        image = rows @ theta
        z = activation.prox_phi(image + (target - mu) / delta, 1 / delta)
        mu = mu + delta * (z - image)
    _unstack(affine, theta)
    lift.parameters_changed(number)


def admm_auxiliary(lift: Lift, number: int, iterations: int, *, delta: float = 1.0) -> None:
    """Minimise over one auxiliary variable x, eqs. (37b), (37c); the layer above reads a copy v = x.

    Args:
        lift: The variables.
        number: Index of the variable, from 0.
        iterations: ADMM iterations.
        delta: Weight of the augmented terms.

    Raises:
        ValueError: The variable's layer or the layer above is not dense or is residual, the penalty
            is not the Bregman penalty, or a regulariser is iterative.
    """
    affine = _dense(lift, number + 1)
    _dense(lift, number)
    weight, above = lift.network.lam[number : number + 2]
    kernel, upper = (lift.network.layers[n].activation for n in (number, number + 1))
    term = lift.network.regularisers.get(number)
    if term is not None and not term.in_energy:
        raise ValueError(
            "ADMM cannot take an iterative regulariser (use inner='gradient' with mirror steps)"
        )
    matrix = affine.linear.weight
    pull, target = weight * lift.preactivation(number), above * lift.target(number + 1)
    factor = _cholesky(
        torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device) + matrix.T @ matrix
    )
    x, z = lift.aux[number], lift.preactivation(number + 1)
    offset = affine.forward(torch.zeros_like(x[:1]))
    v, mu_z, mu_v = x, torch.zeros_like(z), torch.zeros_like(x)
    for _ in range(iterations):
        point = (pull + delta * v + mu_v) / (weight + delta)
        if term is not None:
            point = term.shift(point, 1 / (weight + delta), kernel)
        x = kernel.prox(point, weight / (weight + delta))
        right = (z + mu_z / delta - offset) @ matrix + x - mu_v / delta
        v = torch.cholesky_solve(right.T, factor).T
        image = affine.forward(v)
        z = upper.prox_phi(image + (target - mu_z) / delta, above / delta)
        mu_z = mu_z + delta * (z - image)
        mu_v = mu_v + delta * (v - x)
    lift.set_aux(number, x)
    dual = lift.preactivation(number) - lift.gradient(number) / weight
    lift.dual[number] = dual if term is None else term.shift(dual, 1 / weight, kernel)


def _cholesky(matrix: Tensor) -> Tensor:
    """The Cholesky factor of a positive definite matrix, unchecked: a check waits for the device."""
    return torch.linalg.cholesky_ex(matrix).L


def _dense(lift: Lift, number: int) -> DenseMap:
    layer = lift.network.layers[number]
    if not isinstance(layer.affine, DenseMap) or layer.sign or lift.layer_input(number).ndim != 2:
        raise ValueError(
            f"ADMM needs dense layers, and layer {number + 1} is not dense (use inner='gradient')"
        )
    if not isinstance(lift.penalty(number), BregmanPenalty):
        raise ValueError(
            "ADMM needs the Bregman penalty (use inner='gradient' for other penalties)"
        )
    return layer.affine


def _stack(affine: DenseMap) -> Tensor:
    """Weight and bias as one (inputs + 1, outputs) matrix."""
    weight, bias = affine.linear.weight, affine.linear.bias
    return weight.T.clone() if bias is None else torch.cat([weight.T, bias[None]], 0)


def _unstack(affine: DenseMap, theta: Tensor) -> None:
    inputs = affine.linear.in_features
    affine.linear.weight.copy_(theta[:inputs].T)
    if affine.linear.bias is not None:
        affine.linear.bias.copy_(theta[inputs])
