"""The axis on which the channels of a tensor lie, and how nodes of a graph move it.

The channels of an image lie on axis 1, those of tokens on the last axis, and a flattening joins them
with other axes. All rules use the actual shapes of tensors and no convention.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import torch
from torch import fx, nn

from dessilbi.nodes import is_call, is_pointwise, pooled_axes, scale_factor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Channel c is at the indices `(o * channels + c) * inner + i` of one axis.

    Attributes:
        axis: Axis of the tensor, from 0.
        outer: Number of times that the sequence of all channels repeats.
        inner: Number of entries of one channel that lie side by side.
    """

    axis: int
    outer: int = 1
    inner: int = 1

    @property
    def plain(self) -> bool:
        """Whether the axis holds the channels and nothing else."""
        return self.outer == self.inner == 1


@dataclass(frozen=True)
class Move:
    """A node that maps one tensor with channels to another tensor.

    Attributes:
        layout: Layout of the input.
        channels: Number of channels.
        before: Shape of the input.
        after: Shape of the output.
        own_size: Nodes whose value is the number of channels, so that it follows a removal.
    """

    layout: Layout
    channels: int
    before: Shape
    after: Shape
    own_size: frozenset[fx.Node] = frozenset()


def moved(layer: nn.Module | None, node: fx.Node, move: Move) -> Layout | None:
    """The layout behind a node that maps zero channels to zero channels and keeps all of them.

    The result is None for a node that mixes channels, fixes their number, or is unknown.
    """
    layout = move.layout
    if is_pointwise(layer, node) or scale_factor(node) is not None:
        return layout if move.before == move.after else None
    if axes := pooled_axes(layer, node):
        return layout if layout.axis < len(move.before) - axes else None
    options = _options(layer, node)
    if options is None:
        return None
    name, given = options
    return _RULES[name](move, given) if name in _RULES else None


_NAMES: dict[object, str] = {
    torch.flatten: "flatten",
    torch.reshape: "reshape",
    torch.unsqueeze: "unsqueeze",
    torch.squeeze: "squeeze",
    torch.permute: "permute",
    torch.transpose: "transpose",
    torch.swapaxes: "transpose",
    torch.mean: "mean",
    torch.unflatten: "unflatten",
    "view": "reshape",
    "swapaxes": "transpose",
}
_KEYS = {
    "flatten": ("start_dim", "end_dim"),
    "reshape": ("shape",),
    "unsqueeze": ("dim",),
    "squeeze": ("dim",),
    "permute": ("dims",),
    "transpose": ("dim0", "dim1"),
    "mean": ("dim", "keepdim"),
    "unflatten": ("dim", "sizes"),
}


def _options(layer: nn.Module | None, node: fx.Node) -> tuple[str, Mapping[str, Any]] | None:
    """Name and arguments of a node that moves axes; None for other nodes and unknown arguments."""
    if isinstance(layer, nn.Flatten):
        return "flatten", {"start_dim": layer.start_dim, "end_dim": layer.end_dim}
    if isinstance(layer, nn.Unflatten):
        return "unflatten", {"dim": layer.dim, "sizes": layer.unflattened_size}
    if not is_call(node):
        return None
    name = _NAMES.get(node.target, node.target)
    if not isinstance(name, str) or name not in _KEYS:
        return None
    keys = _KEYS[name]
    rest = list(node.args[1:] if node.args else [])
    if name in ("reshape", "permute") and rest and not isinstance(rest[0], (tuple, list)):
        rest = [tuple(rest)]
    named = {key: value for key, value in node.kwargs.items() if key != "input"}
    if name == "reshape" and "size" in named:
        named["shape"] = named.pop("size")
    given = dict(zip(keys, rest, strict=False)) | named
    return (name, given) if len(rest) <= len(keys) and set(given) <= set(keys) else None


def _flatten(move: Move, given: Mapping[str, Any]) -> Layout | None:
    rank = len(move.before)
    start, end = (given.get(k, d) for k, d in (("start_dim", 0), ("end_dim", -1)))
    if not isinstance(start, int) or not isinstance(end, int):
        return None
    start, end = start % rank, end % rank
    axis = move.layout.axis
    if axis < start:
        return move.layout
    if axis > end:
        return replace(move.layout, axis=axis - (end - start))
    return Layout(
        start,
        math.prod(move.before[start:axis]) * move.layout.outer,
        math.prod(move.before[axis + 1 : end + 1]) * move.layout.inner,
    )


def _reshape(move: Move, given: Mapping[str, Any]) -> Layout | None:
    sizes = given.get("shape")
    if not isinstance(sizes, (tuple, list)) or len(sizes) != len(move.after):
        return None
    return _divided(move, sizes)


def _unflatten(move: Move, given: Mapping[str, Any]) -> Layout | None:
    dim, sizes = given.get("dim"), given.get("sizes")
    if not isinstance(dim, int) or not isinstance(sizes, (tuple, list)):
        return None
    dim %= len(move.before)
    if move.layout.axis != dim:
        later = len(sizes) - 1 if move.layout.axis > dim else 0
        return replace(move.layout, axis=move.layout.axis + later)
    # None stands for the axes that do not change.
    return _divided(move, [*[None] * dim, *sizes, *[None] * (len(move.before) - dim - 1)])


def _divided(move: Move, sizes: Sequence[object]) -> Layout | None:
    """The axis of the new shape that holds all channels, if its size is free to become smaller."""
    layout, before, after = move.layout, move.before, move.after
    if 0 in before:
        return None
    in_front = math.prod(before[: layout.axis]) * layout.outer
    behind = math.prod(before[layout.axis + 1 :]) * layout.inner
    for axis in range(len(after)):
        front, back = math.prod(after[:axis]), math.prod(after[axis + 1 :])
        if in_front % front or behind % back:
            continue
        found = Layout(axis, in_front // front, behind // back)
        if sizes[axis] == -1 or (found.plain and sizes[axis] in move.own_size):
            return found
    return None


def _unsqueeze(move: Move, given: Mapping[str, Any]) -> Layout | None:
    dim = given.get("dim")
    if not isinstance(dim, int):
        return None
    dim %= len(move.after)
    return replace(move.layout, axis=move.layout.axis + (dim <= move.layout.axis))


def _squeeze(move: Move, given: Mapping[str, Any]) -> Layout | None:
    dims = given.get("dim")
    dims = [dims] if isinstance(dims, int) else dims
    if not _are_axes(dims):  # without arguments, lengths decide which axes go
        return None
    rank = len(move.before)
    if move.layout.axis in {dim % rank for dim in dims}:
        return None  # if a removal leaves one channel, the axis would go
    return _without(move.layout, {dim % rank for dim in dims if move.before[dim] == 1})


def _permute(move: Move, given: Mapping[str, Any]) -> Layout | None:
    dims = given.get("dims")
    if not _are_axes(dims) or len(dims) != len(move.before):
        return None
    rank = len(dims)
    return replace(move.layout, axis=[dim % rank for dim in dims].index(move.layout.axis))


def _transpose(move: Move, given: Mapping[str, Any]) -> Layout | None:
    dims = (given.get("dim0"), given.get("dim1"))
    if not _are_axes(dims):
        return None
    first, second = (dim % len(move.before) for dim in dims)
    axis = {first: second, second: first}.get(move.layout.axis, move.layout.axis)
    return replace(move.layout, axis=axis)


def _mean(move: Move, given: Mapping[str, Any]) -> Layout | None:
    dims, keep = given.get("dim"), given.get("keepdim", False)
    dims = [dims] if isinstance(dims, int) else dims
    if not _are_axes(dims) or not dims or not isinstance(keep, bool):
        return None
    gone = {dim % len(move.before) for dim in dims}
    if keep:
        return None if move.layout.axis in gone else move.layout
    return _without(move.layout, gone)


def _without(layout: Layout, gone: set[int]) -> Layout | None:
    if layout.axis in gone:
        return None
    return replace(layout, axis=layout.axis - sum(dim < layout.axis for dim in gone))


def _are_axes(dims: Any) -> TypeGuard[Sequence[int]]:
    return isinstance(dims, (tuple, list)) and all(isinstance(dim, int) for dim in dims)


_RULES = {
    "flatten": _flatten,
    "reshape": _reshape,
    "unflatten": _unflatten,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "permute": _permute,
    "transpose": _transpose,
    "mean": _mean,
}
