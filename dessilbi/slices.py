"""Parts of tensors: what a smaller network takes from a larger one, and puts back."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bregman.layout import memory_axes
from dessilbi.active import ActiveUnits, Kept
from dessilbi.resizing import NORM_TENSORS, input_places, output_axis, weight_of


@dataclass
class Slice:
    """Some of the indices along some axes of a tensor.

    Attributes:
        index: Of an axis, the indices that are taken, ascending; all of every other axis.
    """

    index: dict[int, Tensor] = field(default_factory=dict)

    def along(self, axes: tuple[int, ...], *, other: bool = False) -> Slice:
        """The same along these axes, or along all other axes, alone."""
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


def network_slices(active: ActiveUnits, kept: Kept) -> dict[str, Slice]:
    """What stays of each parameter and buffer of a network, by name; the whole of those not named."""
    slices: dict[str, Slice] = {}

    def cut(name: str, axis: int, index: Tensor) -> None:
        slices.setdefault(name, Slice()).index[axis] = index

    model = active.graph.model
    for space, mask in kept.items():
        if mask.all():
            continue
        index = mask.nonzero().flatten()
        for name in space.producers:
            layer = model.get_submodule(name)
            own = index.to(weight_of(layer).device)
            cut(f"{name}.weight", output_axis(layer), own)
            if layer.bias is not None:
                cut(f"{name}.bias", 0, own)
        for name in space.norms:
            layer = model.get_submodule(name)
            for tensor in NORM_TENSORS:
                if (found := getattr(layer, tensor)) is not None:
                    cut(f"{name}.{tensor}", 0, index.to(found.device))
        for reader in active.readers[space]:
            own = index.to(weight_of(reader.layer).device)
            places = input_places(reader.layer, own, space.channels, reader.outer)
            cut(f"{reader.name}.weight", 1 - output_axis(reader.layer), places)
    return slices
