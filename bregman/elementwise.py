"""Penalties that treat every entry by itself: `none`, `l1`, `nonnegative`.

Source: Bungert, Roith, Tenbrinck, Burger (2022), eq. 1.13 and Example 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Zero:
    """J = 0: the parameter is trained without a penalty."""

    def check(self, shape: Sequence[int]) -> None:
        """Any shape will do."""

    def value(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """0, as a scalar tensor."""
        return x.new_zeros(())

    def prox(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """A copy of x."""
        return x.clone()

    def prox_into(self, x: Tensor, lam: float, out: Tensor) -> None:
        """Copy x to `out`."""
        if out is not x:
            out.copy_(x)

    def subgradient(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """Zeros."""
        return torch.zeros_like(x)


class L1:
    """J = sum of absolute values."""

    def check(self, shape: Sequence[int]) -> None:
        """Any shape will do."""

    def value(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`lam * sum_i abs(x_i)`."""
        return lam * x.abs().sum()

    def prox(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """The soft threshold `sign(x) max(abs(x) - lam, 0)` (eq. 1.13)."""
        return x.sign() * (x.abs() - lam).clamp(min=0)

    def prox_into(self, x: Tensor, lam: float, out: Tensor) -> None:
        """Write the soft threshold into `out`."""
        soft_threshold_into(x, lam, out)

    def subgradient(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`lam * sign(x)`, 0 at zero entries."""
        return lam * x.sign()


class NonNegative:
    """J = sum of entries where all are non-negative, infinite otherwise.

    At a negative entry there is no subgradient. 0 is returned there, so that an infeasible start is
    projected by the first step, and the entry has to travel back through its negative dual before
    it enters.
    """

    def check(self, shape: Sequence[int]) -> None:
        """Any shape will do."""

    def value(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`lam * sum_i x_i`, or infinity if an entry is negative."""
        return lam * x.sum() + torch.where((x < 0).any(), torch.inf, 0.0)

    def prox(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`max(x - lam, 0)`."""
        return (x - lam).clamp(min=0)

    def prox_into(self, x: Tensor, lam: float, out: Tensor) -> None:
        """Write `max(x - lam, 0)` into `out`."""
        torch.sub(x, lam, out=out)
        out.clamp_(min=0)

    def subgradient(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`lam` at positive entries, 0 elsewhere."""
        return lam * (x > 0).to(x.dtype)


def soft_threshold_into(x: Tensor, threshold: float, out: Tensor) -> None:
    """Write `sign(x) max(abs(x) - threshold, 0)` into `out` (which may be x): one pass."""
    # The out= form of softshrink exists only behind torch.nn.functional.
    softshrink = torch._C._nn.softshrink  # pyright: ignore[reportAttributeAccessIssue]
    if out.dtype == x.dtype:
        softshrink(x, threshold, out=out)
    else:  # softshrink refuses to round: a low-precision parameter with its float32 dual comes here
        out.copy_(softshrink(x, threshold))
