"""The convex penalties J: value, proximal map and subgradient of `lam * J`.

| name          | J(x)                                           | prox of t J                     |
|---------------|------------------------------------------------|---------------------------------|
| `none`        | 0                                              | x                               |
| `l1`          | sum_i abs(x_i)                                 | sign(x) max(abs(x) - t, 0)      |
| `l12`         | sum_g w_g norm(x_g), w_g = sqrt(size) or 1     | x_g max(1 - t w_g/norm(x_g), 0) |
| `nonnegative` | sum_i x_i if all x_i >= 0, otherwise infinite  | max(x - t, 0)                   |
| `nuclear`     | sum of singular values of x as (out, rest)     | U diag(max(s - t, 0)) V^T       |

With `lam = 0`, `nonnegative` is the pure constraint x >= 0 (the paper's Example 1).

Every J is positively homogeneous, J(c x) = c J(x) for c > 0, hence
`prox_{delta J}(delta v) = delta prox_J(v)`: in the Bregman optimisers delta is a factor in front of
the prox. `bregman.groups` says which entries form a group of `l12`.

Source: Bungert, Roith, Tenbrinck, Burger, "A Bregman learning framework for sparse neural
networks", JMLR 23(192), 2022, eqs. 1.2, 1.13, 1.14.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from bregman.choices import GroupWeight, PenaltyName
from bregman.elementwise import L1, NonNegative, Zero
from bregman.groups import Group, check_group
from bregman.l12 import L12
from bregman.nuclear import Nuclear
from bregman.validation import check_choice


class Penalty(Protocol):
    """The interface of J that optimisers use; every method takes a factor `lam >= 0` of J."""

    def check(self, shape: Sequence[int]) -> None:
        """Raise ValueError if a tensor of this shape cannot carry the penalty."""
        ...

    def value(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`lam * J(x)`, a differentiable scalar."""
        ...

    def prox(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`argmin_y |y - x|^2 / 2 + lam J(y)`, a new tensor of the shape of x."""
        ...

    def prox_into(self, x: Tensor, lam: float, out: Tensor) -> None:
        """Write `prox(x, lam)` into the storage of `out`, which may be x: the fast form."""
        ...

    def subgradient(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """The element of smallest norm of the subdifferential of `lam J` at x, of the shape of x."""
        ...


def make_penalty(
    name: str, *, group: Group | Sequence[int] | None = None, group_weight: str = "sqrt"
) -> Penalty:
    """The penalty with this name.

    Args:
        name: One of `none`, `l1`, `l12`, `nonnegative`, `nuclear`.
        group: For `l12`: what forms one group, see `bregman.groups`. Must be None otherwise.
        group_weight: For `l12`: `"sqrt"` weighs a group by the square root of its size, `"none"` by
            1.

    Raises:
        ValueError: The name or the group is unknown, `l12` has no group, or another penalty has one.
    """
    if group is not None and not isinstance(group, Iterable):
        raise ValueError(f"Invalid group: {group!r} (must be a name or a tuple of dimensions)")
    key = group if group is None or isinstance(group, str) else tuple(group)
    try:
        return _cached_penalty(name, key, group_weight)
    except TypeError:  # an argument is not hashable: the uncached function raises a clear error
        return _cached_penalty.__wrapped__(name, key, group_weight)


@lru_cache(maxsize=256)
def _cached_penalty(name: str, group: Group | None, group_weight: str) -> Penalty:
    check_choice("penalty", name, PenaltyName)
    check_choice("group_weight", group_weight, GroupWeight)
    if name == "l12":
        if group is None:
            raise ValueError(
                "Invalid group: None (penalty 'l12' needs a group, e.g. 'kernel' or 'row')"
            )
        return L12(check_group(group), sqrt_weight=group_weight == "sqrt")
    if group is not None:
        raise ValueError(
            f"Invalid group: {group!r} (penalty {name!r} has no groups; use 'l12' or None)"
        )
    return {"none": Zero, "l1": L1, "nonnegative": NonNegative, "nuclear": Nuclear}[name]()


def total_value(penalty: Penalty, tensors: Iterable[Tensor], lam: float = 1.0) -> Tensor:
    """`lam * sum_i J(x_i)` over a list of tensors: a differentiable scalar, 0 for no tensor."""
    values = [penalty.value(x, lam) for x in tensors]
    return torch.stack(values).sum() if values else torch.zeros(())


def prox_list(
    penalty: Penalty, tensors: Sequence[Tensor], lam: float, outs: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """The prox of each tensor, written into `outs` (which may be `tensors`) or into new tensors."""
    targets = [torch.empty_like(x) for x in tensors] if outs is None else list(outs)
    with torch.no_grad():
        for x, out in zip(tensors, targets, strict=True):
            penalty.prox_into(x, lam, out)
    return targets
