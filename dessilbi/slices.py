"""Slices of tensors, which a smaller network takes from a larger one and writes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bregman.layout import memory_axes
from dessilbi.active import ActiveUnits, Kept
from dessilbi.graph import Space
from dessilbi.resizing import NORM_TENSORS, output_axis, weight_of
from dessilbi.sparse_linear import Pattern


@dataclass
class Slice:
    """Some of the indices along some axes of a tensor.

    Attributes:
        index: For each of these axes, the indices that are taken, ascending. All indices of the other
            axes are taken.
    """

    index: dict[int, Tensor] = field(default_factory=dict)

    def along(self, axes: tuple[int, ...], *, other: bool = False) -> Slice:
        """The slice with only these axes of this one, or only the other axes."""
        return Slice({axis: ix for axis, ix in self.index.items() if (axis in axes) != other})

    def take(self, whole: Tensor) -> Tensor:
        """A copy of the part, in the memory order of the whole."""
        part = whole.detach()
        if not self.index:
            return part.clone()
        for axis, index in self.index.items():
            part = part.index_select(axis, index)
        axes = memory_axes(whole)
        if axes is None:
            return part
        back = sorted(range(len(axes)), key=axes.__getitem__)
        return part.permute(axes).contiguous().permute(back)

    def put(self, whole: Tensor, part: Tensor) -> None:
        """Write a part back into the whole."""
        if not self.index:
            whole.copy_(part)
            return
        (axis, index), *rest = self.index.items()
        if rest:
            inner = Slice(dict(rest))
            rows = whole.index_select(axis, index)
            inner.put(rows, part)
            part = rows
        whole.index_copy_(axis, index, part)

    def clear(self, whole: Tensor) -> None:
        """Set the part to zero."""
        self.put(whole, torch.zeros_like(self.take(whole)))


@dataclass
class Entries(Slice):
    """Some entries of a contiguous matrix, as a vector.

    Attributes:
        index: Rows and columns among which the entries lie.
        places: Flat indices into the matrix, ascending.
    """

    places: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))

    def take(self, whole: Tensor) -> Tensor:
        """See `Slice.take`."""
        return whole.detach().view(-1).index_select(0, self.places)

    def put(self, whole: Tensor, part: Tensor) -> None:
        """See `Slice.put`."""
        whole.view(-1).index_copy_(0, self.places, part)

    def pattern(self, shape: torch.Size) -> Pattern:
        """Where the entries are among the rows and columns of the index, the matrix having this shape."""
        at = [self.places // shape[1], self.places % shape[1]]
        sizes = list(shape)
        for axis, index in self.index.items():
            at[axis], sizes[axis] = torch.searchsorted(index, at[axis]), len(index)
        return Pattern(at[0] * sizes[1] + at[1], (sizes[0], sizes[1]))


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor along which the channels of a space lie.

    Attributes:
        name: Name of the tensor.
        axis: Index of the axis.
        places: `(channels, entries)`, the positions of each channel on the axis.
    """

    name: str
    axis: int
    places: Tensor


def channel_axes(active: ActiveUnits) -> dict[Space, list[Axis]]:
    """For each space of which channels may be left out, the axes of tensors that hold its channels."""
    return {space: _axes_of(active, space) for space in active.spaces}


def _axes_of(active: ActiveUnits, space: Space) -> list[Axis]:
    found: list[Axis] = []

    def note(name: str, tensor: Tensor, axis: int, outer: int = 1) -> None:
        places = torch.arange(tensor.shape[axis], device=tensor.device)
        places = places.view(outer, space.channels, -1).transpose(0, 1).flatten(1)
        found.append(Axis(name, axis, places))

    model = active.graph.model
    for name in space.producers:
        layer = model.get_submodule(name)
        note(f"{name}.weight", weight_of(layer), output_axis(layer))
        if isinstance(layer.bias, Tensor):
            note(f"{name}.bias", layer.bias, 0)
    for name in space.norms:
        layer = model.get_submodule(name)
        for key in NORM_TENSORS:
            if isinstance(tensor := getattr(layer, key), Tensor):
                note(f"{name}.{key}", tensor, 0)
    for reader in active.readers[space]:
        axis = 1 - output_axis(reader.layer)
        note(f"{reader.name}.weight", weight_of(reader.layer), axis, reader.outer)
    return found


def network_slices(axes: Mapping[Space, Sequence[Axis]], kept: Kept) -> dict[str, Slice]:
    """The slices of parameters and buffers that stay, by name; tensors without a slice stay whole.

    Args:
        axes: Axes of each space, see `channel_axes`.
        kept: Bool masks of the channels that stay in each space.
    """
    slices: dict[str, Slice] = {}
    for space, mask in kept.items():
        if mask.all():
            continue
        index = mask.nonzero().flatten()
        for one in axes[space]:
            places = one.places.index_select(0, index.to(one.places.device)).flatten()
            slices.setdefault(one.name, Slice()).index[one.axis] = places.sort().values
    return slices
