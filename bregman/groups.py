"""Which entries of a tensor form one group of the l1,2 penalty.

Names follow the layout `(out, in, *spatial)` that torch uses for the weights of Linear and Conv
layers:

| name      | one group is                          | Linear `(out, in)`  | Conv `(out, in, *k)`   |
|-----------|---------------------------------------|---------------------|------------------------|
| `row`     | incoming weights of one output neuron | a row, `in` entries | refused: use `filter`  |
| `column`  | outgoing weights of one input         | column, `out` entr. | refused: use `channel` |
| `kernel`  | spatial kernel of one (out, in) pair  | refused: no kernel  | `prod(k)` entries      |
| `filter`  | everything of one output channel      | as `row`            | `in * prod(k)` entries |
| `channel` | everything reading one input channel  | as `column`         | `out * prod(k)` entries|
| `complex` | real and imaginary part               | last axis, length 2 | last axis, length 2    |

A tuple names the axes that *together* form one group: `(0, 1)` on a `(4, 3, 5)` tensor is 5 groups
of 12 entries. Transposed convolutions store `(in, out, *k)`, which exchanges `filter` and
`channel`.

The groups are those of Bungert, Roith, Tenbrinck, Burger (2022), eqs. 1.2 and 1.14.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bregman.choices import GroupName

Group = str | tuple[int, ...]


def check_group(group: Group | Sequence[int]) -> Group:
    """Return `group` in its canonical form (a known name or a tuple of int).

    Raises:
        ValueError: The name is unknown, or the tuple is empty or holds something other than int.
    """
    if isinstance(group, str):
        if group not in list(GroupName):
            raise ValueError(
                f"Invalid group: {group!r} (must be one of {', '.join(GroupName)}, "
                "or a tuple of dimensions)"
            )
        return group
    dims = tuple(group)
    if not dims or not all(type(dim) is int for dim in dims):
        raise ValueError(
            f"Invalid group: {dims!r} (a tuple must hold one or more dimensions, as int)"
        )
    return dims


def group_dims(group: Group, shape: Sequence[int]) -> tuple[int, ...]:
    """Axes of a tensor of this shape that together form one group, sorted and non-negative.

    Raises:
        ValueError: The group does not fit the rank, or the group is `complex` and the last axis has
            another length than 2.
    """
    rank = len(shape)
    if not isinstance(group, str):
        return _tuple_dims(group, shape)
    check_group(group)
    needs, fits = {
        "kernel": ("at least 3 dimensions (out, in, *spatial)", rank >= 3),
        "filter": ("at least 2 dimensions (out, in, ...)", rank >= 2),
        "channel": ("at least 2 dimensions (out, in, ...)", rank >= 2),
        "row": ("exactly 2 dimensions (out, in); for convolutions use 'filter'", rank == 2),
        "column": ("exactly 2 dimensions (out, in); for convolutions use 'channel'", rank == 2),
        "complex": ("a last dimension of length 2", rank >= 1 and shape[-1] == 2),
    }[group]
    if not fits:
        raise ValueError(f"group {group!r} does not fit shape {tuple(shape)} (needs {needs})")
    dims: dict[str, tuple[int, ...]] = {
        "kernel": tuple(range(2, rank)),
        "filter": tuple(range(1, rank)),
        "channel": (0, *range(2, rank)),
        "row": (1,),
        "column": (0,),
        "complex": (rank - 1,),
    }
    return dims[group]


def group_size(dims: Sequence[int], shape: Sequence[int]) -> int:
    """Number of entries in one group."""
    return math.prod(shape[dim] for dim in dims)


def _tuple_dims(dims: tuple[int, ...], shape: Sequence[int]) -> tuple[int, ...]:
    rank = len(shape)
    if any(not -rank <= dim < rank for dim in dims):
        raise ValueError(
            f"group {dims!r} does not fit shape {tuple(shape)} "
            f"(dimensions must be in [{-rank}, {rank - 1}])"
        )
    positive = tuple(sorted(dim % rank for dim in dims))
    if len(set(positive)) != len(positive):
        raise ValueError(f"group {dims!r} names a dimension of shape {tuple(shape)} twice")
    return positive
