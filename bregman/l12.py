"""The group penalty l1,2: whole groups of entries vanish together.

Source: Bungert, Roith, Tenbrinck, Burger (2022), eqs. 1.2 and 1.14. `bregman.groups` says which
entries form a group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from bregman.elementwise import soft_threshold_into
from bregman.groups import Group, group_dims, group_size
from bregman.layout import memory_axes


@dataclass(frozen=True)
class L12:
    """J = sum over groups g of `w_g * norm(x_g)`, with w_g = sqrt(group size) or 1.

    Attributes:
        group: What forms one group, see `bregman.groups`.
        sqrt_weight: Whether w_g is the square root of the group size (the paper's choice) or 1.
    """

    group: Group
    sqrt_weight: bool = True

    def check(self, shape: Sequence[int]) -> None:
        """Raise ValueError if the group does not fit a tensor of this shape."""
        group_dims(self.group, shape)

    def value(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`lam * sum_g w_g norm(x_g)`."""
        dims, weight = self._resolve(x)
        return lam * weight * vector_norm(x, dim=dims).sum()

    def prox(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`x_g * max(1 - lam w_g / norm(x_g), 0)` for every group."""
        dims, weight = self._resolve(x)
        return x * shrink_factor_(vector_norm(x, dim=dims, keepdim=True), lam * weight)

    def prox_into(self, x: Tensor, lam: float, out: Tensor) -> None:
        """Write the prox into `out`: one pass for the norms, one for the product."""
        dims, weight = self._resolve(x)
        if x.numel() == 0:
            return
        if group_size(dims, x.shape) == 1:
            soft_threshold_into(x, lam, out)
        else:
            group_shrink_into(x, dims, lam * weight, out)

    def subgradient(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`lam w_g x_g / norm(x_g)`, 0 at groups that vanish."""
        dims, weight = self._resolve(x)
        norms = vector_norm(x, dim=dims, keepdim=True)
        return lam * weight * x / norms.masked_fill(norms == 0, 1.0)

    def _resolve(self, x: Tensor) -> tuple[tuple[int, ...], float]:
        dims = group_dims(self.group, x.shape)
        return dims, math.sqrt(group_size(dims, x.shape)) if self.sqrt_weight else 1.0


def shrink_factor_(norms: Tensor, threshold: float) -> Tensor:
    """Overwrite norms by `max(1 - threshold / norm, 0)`; NaN stays NaN, to show divergence."""
    tiny = torch.finfo(norms.dtype).tiny
    return norms.clamp_(min=tiny).reciprocal_().mul_(-threshold).add_(1).clamp_(min=0)


def group_shrink_into(x: Tensor, dims: tuple[int, ...], threshold: float, out: Tensor) -> None:
    """Write `x_g * max(1 - threshold / norm(x_g), 0)` into `out`, in the memory order of x."""
    axes = memory_axes(x)
    if axes is not None:
        x, out = x.permute(axes), out.permute(axes)
        dims = tuple(sorted(axes.index(dim) for dim in dims))
    consecutive = dims == tuple(range(dims[0], dims[-1] + 1))
    if axes is None or not consecutive or not out.is_contiguous():
        norms = vector_norm(x, dim=dims, keepdim=True)
    else:
        # View the same memory as (before, group, after), so that the group is one axis.
        blocks = (math.prod(x.shape[: dims[0]]), group_size(dims, x.shape), -1)
        x, out = x.view(blocks), out.view(blocks)
        norms = _middle_norms(x)
    torch.mul(x, shrink_factor_(norms, threshold), out=out)


def _middle_norms(x: Tensor) -> Tensor:
    """Norms over the middle axis of a contiguous `(before, group, after)`, kept with length 1."""
    before, size, after = x.shape
    if after == 1 or size > 64:
        return vector_norm(x, dim=1, keepdim=True)
    # Kernel groups of a channels_last weight have the shape `(out, taps, in)`. vector_norm strides
    # through the middle axis entry by entry (70 times slower for 3x3 kernels); a sum over taps runs
    # along the last axis.
    squares = x[:, 0].square()
    for tap in range(1, size):
        squares.addcmul_(x[:, tap], x[:, tap])
    return squares.sqrt_().view(before, 1, after)
