"""A smaller network for some steps: its tensors are parts of those of the whole one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bregman.dual import DualOptimizer
from bregman.layers import WEIGHT_LAYERS
from dessilbi.active import ActiveUnits, Kept, Reader, Values
from dessilbi.constants import reads_evenly
from dessilbi.graph import Space
from dessilbi.parts import PartialOptimizer, PartOfGroups
from dessilbi.resizing import sync_sizes, weight_of
from dessilbi.slices import Entries, Slice
from dessilbi.sparse_linear import SparseLinear


@dataclass
class Offset:
    """What channels that were left out add to the outputs of a layer.

    Attributes:
        value: `(outputs,)`.
        groups: Where groups reach from the part of the layer's weight to the columns that were left
            out: what these would add if the prox left the duals as they are, one entry per output
            and entry of the kernel.
        penalty: That then says how much of it there is.
    """

    value: Tensor
    groups: Tensor | None = None
    penalty: PartOfGroups | None = None

    def follow(self, delta: float) -> None:
        """Take over what a step has made of the groups."""
        factor = None if self.penalty is None else self.penalty.factor
        if factor is not None and self.groups is not None:
            self.value.copy_((factor * self.groups).flatten(1).sum(1).mul_(delta))

    def add_to(self, layer: nn.Module) -> None:
        """Let a layer add the offset to its outputs."""
        behind = 0 if isinstance(layer, nn.Linear) else len(layer.kernel_size)  # pyright: ignore[reportArgumentType]
        shape = (-1, *[1] * behind)

        def add(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            return output + self.value.view(shape).to(output.dtype)

        layer.register_forward_hook(add)


@dataclass(frozen=True)
class Still:
    """Channels of a norm layer that were left out and show it the same value in every batch.

    Attributes:
        layer: The norm layer of the whole network.
        index: The channels.
        value: Of each of them.
    """

    layer: _BatchNorm
    index: Tensor
    value: Tensor

    @torch.no_grad()
    def advance(self, before: int, batches: int) -> None:
        """Move the running statistics as the batches would have done, of which `before` were over."""
        mean, var = (t[self.index] for t in (self.layer.running_mean, self.layer.running_var))  # pyright: ignore[reportOptionalSubscript]
        for batch in range(batches):
            rate = self.layer.momentum
            rate = 1 / (before + batch + 1) if rate is None else rate
            mean = (1 - rate) * mean + rate * self.value
            var = (1 - rate) * var
        self.layer.running_mean[self.index] = mean  # pyright: ignore[reportOptionalSubscript]
        self.layer.running_var[self.index] = var  # pyright: ignore[reportOptionalSubscript]


class Cycle:
    """A network of the kept channels alone, and its optimiser.

    Args:
        active: Of the whole network.
        optimizer: Of the whole network.
        kept: The channels that stay, see `ActiveUnits.choose`.
        slices: What stays of each tensor then.
        values: Of constant channels, see there.
        offsets: Those of an earlier cycle with the same channels, to continue it; found anew if None.

    Attributes:
        network: The smaller network.
        optimizer: That of its parameters.
        offsets: By name of layer, what is added to the outputs of layers in the smaller network.
    """

    @torch.no_grad()
    def __init__(
        self,
        active: ActiveUnits,
        optimizer: DualOptimizer,
        kept: Kept,
        slices: Mapping[str, Slice],
        values: Values,
        offsets: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._whole = active.graph.model
        self._slices = slices
        self.network, parts = self._smaller()
        self.optimizer = PartialOptimizer(optimizer, parts)
        self._active, self._kept = active, kept
        self._values = values
        self._still = [still for space in kept for still in self._still_norms(space)]
        self.offsets: dict[str, Offset] = {}
        for space in kept:
            for reader in active.readers[space]:
                self._add_offset(reader, kept[space], optimizer)
        for name, value in (offsets or {}).items():
            self.offsets[name].value.copy_(value)

    def step(self) -> None:
        """One step of the optimiser on the smaller network."""
        self.optimizer.step()
        for name, offset in self.offsets.items():
            part = self.optimizer.parts.get(self._weight(name))
            if part is not None:
                offset.follow(part.group["delta"])

    @torch.no_grad()
    def write_back(self) -> None:
        """Write parameters, buffers and state into those of the whole network and its optimiser."""
        small = dict(self.network.named_buffers())
        for still in self._still:
            self._advance(still)
        for name, buffer in self._whole.named_buffers():
            self._slices.get(name, Slice()).put(buffer, small[name])
        self.optimizer.put_back()

    def _advance(self, still: Still) -> None:
        name = next(name for name, layer in self._whole.named_modules() if layer is still.layer)
        before, after = (
            int(net.get_submodule(name).num_batches_tracked)  # pyright: ignore[reportArgumentType]
            for net in (self._whole, self.network)
        )
        still.advance(before, after - before)

    def _smaller(self) -> tuple[nn.Module, dict[Tensor, tuple[nn.Parameter, Slice]]]:
        parts: dict[Tensor, tuple[nn.Parameter, Slice]] = {}
        memo: dict[int, Any] = {}
        for name, param in self._whole.named_parameters():
            where = self._slices.get(name, Slice())
            part = nn.Parameter(where.take(param), requires_grad=param.requires_grad)
            parts[param], memo[id(param)] = (part, where), part
        for name, buffer in self._whole.named_buffers():
            memo[id(buffer)] = self._slices.get(name, Slice()).take(buffer)
        network = copy.deepcopy(self._whole, memo)
        for name, where in self._slices.items():
            if isinstance(where, Entries):
                _make_sparse(network, name, where, self._whole.get_parameter(name).shape)
        for layer in network.modules():
            if isinstance(layer, (*WEIGHT_LAYERS, _BatchNorm)) and not _is_sparse(layer):
                sync_sizes(layer)
        return network, parts

    def _still_norms(self, space: Space) -> list[Still]:
        found = []
        for name in space.norms:
            layer = self._whole.get_submodule(name)
            assert isinstance(layer, _BatchNorm)
            value = self._values.get(self._active.sources[name])
            if value is None or not layer.training or layer.running_mean is None:
                continue
            left = ~self._kept[space].to(value.device) & ~value.isnan()
            index = left.nonzero().flatten()
            found.append(Still(layer, index, value[index]))
        return found

    def _add_offset(self, reader: Reader, kept: Tensor, optimizer: DualOptimizer) -> None:
        value = self._values.get(reader.source)
        if value is None or not reads_evenly(
            reader.layer
        ):  # the others show it zero, or are not read
            return
        value = value.masked_fill(kept.to(value.device) | value.isnan(), 0.0)
        if not value.any():
            return
        weight = self._weight(reader.name)
        width = weight.shape[1] // (reader.outer * len(value))
        entries = value[None, :, None].expand(reader.outer, -1, width).reshape(1, -1)
        entries = entries.view(1, -1, *[1] * (weight.dim() - 2))
        rows = self._slices.get(f"{reader.name}.weight", Slice()).along((0,))
        offset = Offset((rows.take(weight) * entries).flatten(1).sum(1))
        part = self.optimizer.parts.get(weight)
        if part is not None and part.penalty is not None and 1 in part.penalty.dims:
            dual = rows.take(optimizer.state[weight]["dual"])
            offset.groups, offset.penalty = (dual * entries).sum(1, keepdim=True), part.penalty
        self.offsets[reader.name] = offset
        offset.add_to(self.network.get_submodule(reader.name))

    def _weight(self, name: str) -> Tensor:
        return weight_of(self._whole.get_submodule(name))


def _make_sparse(network: nn.Module, weight: str, where: Entries, shape: torch.Size) -> None:
    """Put a sparse layer in the place of a Linear one, whose weight is a vector of entries already."""
    name = weight.removesuffix(".weight")
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    sparse = SparseLinear(layer.weight, layer.bias, where.pattern(shape))
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, sparse.train(layer.training))


def _is_sparse(layer: nn.Module) -> bool:
    return isinstance(layer, SparseLinear)


def coarse_steps_at(epoch: int, most: int) -> int:
    """A schedule of m: 0 in the first epoch, in which the support forms; then m + 1 doubles.

    Args:
        epoch: From 0.
        most: m in the end.

    Example:
        >>> [coarse_steps_at(epoch, 9) for epoch in range(6)]
        [0, 1, 3, 7, 9, 9]
    """
    return min(2 ** min(epoch, 32) - 1, most)
