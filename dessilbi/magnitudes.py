"""One number per group of weights (a norm, a factor of the prox), in one vector for many tensors.

A step needs a few operations on these numbers. A network has so few groups that one call per tensor
would cost more than its arithmetic. So the numbers lie in one vector, of which every tensor has a view,
and each operation is called once.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.linalg import vector_norm

from bregman.groups import Group, group_dims, group_size
from bregman.l12 import L12, shrink_factor_
from bregman.optimizer import state_dtype
from bregman.penalties import Penalty
from dessilbi.scaling import RELEASED_CAP
from dessilbi.settings import Settings


class Magnitudes:
    """A vector with one number per group of some tensors, for example per filter or per entry.

    Args:
        tensors: Tensors of one dtype and one device.
        penalties: Penalty of each tensor. `L12` says what a group is; for other penalties a group is a
            single entry.

    Attributes:
        flat: All numbers, one tensor after the other.
        parts: Views of `flat`, one for each tensor, of its shape with the axes of a group reduced to 1.
        counts: Number of groups in each tensor.
        grouped: For each tensor, whether its groups hold more than one entry.
    """

    def __init__(self, tensors: Sequence[Tensor], penalties: Sequence[Penalty]) -> None:
        layouts = [_layout(p, x.shape) for x, p in zip(tensors, penalties, strict=True)]
        self._dims = [dims for dims, _ in layouts]
        self._shapes = [shape for _, shape in layouts]
        self.grouped = [dims is not None for dims in self._dims]
        self.counts = [math.prod(shape) for shape in self._shapes]
        self._weights = [
            math.sqrt(x.numel() / n) if isinstance(p, L12) and p.sqrt_weight and n else 1.0
            for x, p, n in zip(tensors, penalties, self.counts, strict=True)
        ]
        dtype = state_dtype(tensors[0])
        self.flat = tensors[0].new_empty(sum(self.counts), dtype=dtype)
        self.parts = self.views(self.flat)

    def views(self, flat: Tensor) -> list[Tensor]:
        """Views like `parts` of another vector of the same length."""
        pieces = flat.split(self.counts)
        return [piece.view(shape) for piece, shape in zip(pieces, self._shapes, strict=True)]

    def like(self) -> Magnitudes:
        """An uninitialised vector for the same groups."""
        other = copy.copy(self)
        other.flat = torch.empty_like(self.flat)
        other.parts = self.views(other.flat)
        return other

    def measure(self, tensors: Sequence[Tensor], *, entries: bool = True) -> Magnitudes:
        """Write the norms of groups and, with `entries`, absolute values of single entries; return self."""
        for x, part, dims in zip(tensors, self.parts, self._dims, strict=True):
            if dims is not None:
                vector_norm(x, dim=dims, keepdim=True, out=part)
            elif entries:
                torch.abs(x, out=part)
        return self

    def shrink_(self, lam: float) -> None:
        """Overwrite norms of the tensors by the factors `max(1 - lam w_g / norm, 0)` of the prox."""
        if len(set(self._weights)) > 1:
            for part, weight in zip(self.parts, self._weights, strict=True):
                shrink_factor_(part, lam * weight)
            return
        threshold = lam * self._weights[0]
        if threshold > 0:  # as shrink_factor_ in fewer calls: a norm of 0 gives max(1 - inf, 0)
            self.flat.reciprocal_().mul_(-threshold).add_(1.0).relu_()
        else:
            shrink_factor_(self.flat, threshold)

    def count(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """How many groups of each tensor are not zero; overwrites the norms of groups."""
        self.measure(tensors, entries=False)
        return _counts(
            [
                part if grouped else x
                for x, part, grouped in zip(tensors, self.parts, self.grouped, strict=True)
            ]
        )


def betas_of(selected: list[Tensor], sizes: Magnitudes, settings: Settings) -> list[Tensor]:
    """`dessilbi.scaling.beta` for several tensors, of the shapes of `sizes.parts`."""
    if settings.scaling == "magnitude":
        alive = torch.stack(_counts(sizes.parts)).clamp_(min=1)
        left = (1.0 - torch.stack(selected) / alive).clamp_(min=settings.scaling_floor)
    else:
        shares = torch._foreach_div(selected, [max(count, 1) for count in sizes.counts])
        left = (1.0 - torch.stack(shares)).clamp_(max=RELEASED_CAP)
    betas = sizes.views(sizes.flat.clamp(min=1.0).reciprocal_())
    torch._foreach_mul_(betas, left.unbind())
    return betas


def _counts(tensors: list[Tensor]) -> list[Tensor]:
    """The number of non-zero entries of each tensor, as scalars of the tensor's dtype."""
    # The norm of order 0 counts in the dtype of the state; integer counts would give float32 shares.
    return list(torch._foreach_norm(tensors, 0))


def has_cheap_norms(penalty: Penalty, x: Tensor) -> bool:
    """Whether the groups of l12 lie in memory one after the other, each in one piece."""
    if not isinstance(penalty, L12):
        return False
    _, _, trailing, rows = _grouping(penalty.group, x.shape)
    return rows or (trailing and x.is_contiguous())


def _layout(penalty: Penalty, shape: torch.Size) -> tuple[tuple[int, ...] | None, Sequence[int]]:
    """Axes of one group (None: entries) and the shape with them reduced to length 1."""
    return _grouping(penalty.group, shape)[:2] if isinstance(penalty, L12) else (None, shape)


@lru_cache(maxsize=4096)
def _grouping(
    group: Group, shape: torch.Size
) -> tuple[tuple[int, ...] | None, tuple[int, ...], bool, bool]:
    """Axes of a group, reduced shape, whether the axes are the last ones, and all but the first."""
    dims = group_dims(group, shape)
    if group_size(dims, shape) == 1:
        return None, tuple(shape), False, False
    rank = len(shape)
    reduced = tuple(1 if axis in dims else length for axis, length in enumerate(shape))
    trailing = dims == tuple(range(rank - len(dims), rank))
    # Whole rows stay in one piece in channels_last, too.
    return dims, reduced, trailing, trailing and len(dims) == rank - 1
