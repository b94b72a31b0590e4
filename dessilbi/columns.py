"""The tensors of a parameter group as lists, and how a step cuts them into blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import is_
from typing import Any

import torch
from torch import Tensor

from bregman.elementwise import L1, NonNegative
from bregman.groups import group_dims
from bregman.l12 import L12
from bregman.penalties import Penalty
from bregman.updates import uniform
from dessilbi.magnitudes import Magnitudes, has_cheap_norms


@dataclass(slots=True)
class Columns:
    """One entry per parameter in every list that is not empty.

    Attributes:
        params: W.
        grads: Gradients of the data loss.
        penalties: Omega of each parameter.
        duals: V; empty for parameters without a penalty.
        gammas: Gamma where it is stored (`scaling="magnitude"`), otherwise empty.
        buffers: Momentum buffers; empty without momentum.
        factors: Buffers for the factors by which the prox multiplies the groups of V; empty where the
            prox is computed in another way.
        kernel: Whether one call of torch's fused SGD takes all the tensors as they are.
    """

    params: list[Tensor]
    grads: list[Tensor]
    penalties: list[Penalty]
    duals: list[Tensor] = field(default_factory=list)
    gammas: list[Tensor] = field(default_factory=list)
    buffers: list[Tensor] = field(default_factory=list)
    factors: list[Tensor] = field(default_factory=list)
    kernel: bool = False

    def is_small(self, size: int) -> bool:
        """Whether all tensors share dtype and device, and none has more than `size` entries."""
        lists = (self.params, self.grads, self.duals, self.gammas, self.buffers)
        return all(param.numel() <= size for param in self.params) and uniform(lists)

    def same_as(self, earlier: Columns) -> bool:
        """Whether all tensors but the gradients are the objects of an earlier, small step."""
        for mine, theirs in (
            (self.params, earlier.params),
            (self.duals, earlier.duals),
            (self.buffers, earlier.buffers),
            (self.gammas, earlier.gammas),
            (self.penalties, earlier.penalties),
        ):
            if len(mine) != len(theirs) or not all(map(is_, mine, theirs)):
                return False
        return uniform((self.params, self.grads))  # an assignment to .data changes a layout

    def of_one_kind(self) -> list[Columns]:
        """One `Columns` for each pair of dtype and device."""
        kinds: dict[tuple[torch.dtype, int], list[int]] = {}
        for index, param in enumerate(self.params):
            kinds.setdefault((param.dtype, param.get_device()), []).append(index)
        return [self.chosen(indices) for indices in kinds.values()]

    def chosen(self, indices: list[int]) -> Columns:
        """The `Columns` of the parameters with these indices."""
        return self.map(lambda column: [column[index] for index in indices])

    def blocks(self, size: int, *, whole: bool) -> Iterator[Columns]:
        """Parts of about `size` entries on the CPU, one part elsewhere; `whole` forbids to cut rows."""
        if not self.params[0].is_cpu:
            yield self
            return
        first = total = 0
        for index, param in enumerate(self.params):
            count = param.numel()
            if total + count > size and first < index:
                yield self.map(lambda column, rows=slice(first, index): column[rows])
                first, total = index, 0
            if count > size and not whole and self._divisible(index):
                yield from self._rows(index, max(1, size * param.shape[0] // count))
                first, total = index + 1, 0
            else:
                total += count
        if first < len(self.params):
            yield self.map(lambda column: column[first:])

    def map(self, change: Callable[[list[Any]], list[Any]]) -> Columns:
        """The `Columns` whose lists are `change` of these lists."""
        lists = (self.params, self.grads, self.penalties, self.duals, self.gammas, self.buffers)
        changed = [change(column) if column else [] for column in (*lists, self.factors)]
        return Columns(*changed, kernel=self.kernel)

    def _rows(self, index: int, step: int) -> Iterator[Columns]:
        for start in range(0, len(self.params[index]), step):
            rows = slice(start, start + step)
            block = self.chosen([index])
            penalties, block.penalties = block.penalties, []
            block = block.map(lambda column, rows=rows: [x[rows] for x in column])
            block.penalties = penalties
            yield block

    def _divisible(self, index: int) -> bool:
        """Whether blocks of rows can be stepped one after the other: no group spans two rows."""
        penalty = self.penalties[index]
        if isinstance(penalty, L12):
            return 0 not in group_dims(penalty.group, self.params[index].shape)
        return not self.duals or isinstance(penalty, (L1, NonNegative))


class Plan:
    """How a step goes through the tensors of a group, all of one dtype and device.

    Args:
        columns: The tensors.
        size: Number of entries of a block.
        whole: Whether parameters stay in one piece.

    Attributes:
        params: W of all parameters.
        split: Whether the parameters have a V.
        blocks: Blocks that are stepped one after the other. In each block, either all parameters or
            none have `factors`.
    """

    def __init__(self, columns: Columns, size: int, *, whole: bool = False) -> None:
        columns.kernel = hasattr(torch, "_fused_sgd_") and uniform(
            (columns.params, columns.grads, columns.buffers)
        )
        self._whole = columns
        self.params, self.split = columns.params, bool(columns.duals)
        self.blocks: list[Columns] = []
        self._grouped: Columns | None = None
        self._order: list[int] = []
        count = len(columns.params)
        grouped: list[int] = []
        if self.split and not columns.gammas and not whole:
            pairs = zip(columns.penalties, columns.duals, strict=True)
            grouped = [index for index, pair in enumerate(pairs) if has_cheap_norms(*pair)]
        if grouped:
            self._grouped = columns if len(grouped) == count else columns.chosen(grouped)
            self._factors = Magnitudes(self._grouped.duals, self._grouped.penalties)
            self._grouped.factors = self._factors.parts
            self._add(self._grouped, grouped, size, whole)
        if len(grouped) < count:
            others = sorted(set(range(count)) - set(grouped))
            self._add(columns.chosen(others) if grouped else columns, others, size, whole)

    def serves(self, columns: Columns) -> bool:
        """Whether these are the tensors of the plan apart from the gradients, which the plan takes over.

        The plan must not cut parameters into rows.
        """
        if not columns.same_as(self._whole):
            return False
        if len(self.blocks) == 1:
            self.blocks[0].grads = columns.grads
            return True
        start = 0
        for block in self.blocks:
            stop = start + len(block.params)
            block.grads = [columns.grads[index] for index in self._order[start:stop]]
            start = stop
        return True

    def release(self) -> None:
        """Drop the references to gradients."""
        for columns in (self._whole, self._grouped, *self.blocks):
            if columns is not None:
                columns.grads = []

    def _add(self, columns: Columns, indices: list[int], size: int, whole: bool) -> None:
        self.blocks.extend(columns.blocks(size, whole=whole))
        self._order.extend(indices)

    def find_factors(self, lam: float) -> None:
        """Compute the `factors` of the blocks from V."""
        part = self._grouped
        if part is not None:
            self._factors.measure(part.duals).shrink_(lam)


class JointPlan:
    """How a step goes through all groups of a small network at once.

    Args:
        groups: The tensors of each group; all share dtype and device, and together they fit one block.
        size: Number of entries of a block.

    Attributes:
        whole: The tensors of all groups.
        plans: The plan of each group that has a V; None for other groups.
        params: W of the parameters that have a V, in the order of the blocks of the plans.
        duals: Their V.
    """

    def __init__(self, groups: list[Columns], size: int) -> None:
        self.whole = joined(groups)
        self.whole.kernel = hasattr(torch, "_fused_sgd_")
        self._lengths = [len(columns.params) for columns in groups]
        self.plans = [Plan(columns, size) if columns.duals else None for columns in groups]
        blocks = [block for plan in self.plans if plan is not None for block in plan.blocks]
        self.params = [param for block in blocks for param in block.params]
        self.duals = [dual for block in blocks for dual in block.duals]
        for plan in self.plans:
            if plan is not None:
                plan.release()

    def serves(self, groups: list[Columns]) -> bool:
        """Whether these are the tensors of the plan apart from the gradients, which it takes over."""
        if [len(columns.params) for columns in groups] != self._lengths:
            return False
        whole = joined(groups)
        if not whole.same_as(self.whole):
            return False
        self.whole.grads = whole.grads
        return True


def joined(groups: list[Columns]) -> Columns:
    """The lists of several groups, one after the other."""
    whole = Columns([], [], [])
    for columns in groups:
        whole.params += columns.params
        whole.grads += columns.grads
        whole.penalties += columns.penalties
        whole.duals += columns.duals
        whole.gammas += columns.gammas
        whole.buffers += columns.buffers
    return whole


def fit_one_block(groups: list[Columns], size: int) -> bool:
    """Whether all groups share dtype and device and have at most `size` entries together."""
    whole = joined(groups)
    return sum(param.numel() for param in whole.params) <= size and whole.is_small(size)
