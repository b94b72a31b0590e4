"""Residual layers: x <- x + sigma(f(x)), or x - sigma(f(x)) as in section 7."""

from __future__ import annotations

from torch import Tensor, nn

from bregman.validation import check_choice


class Residual(nn.Module):
    """`x + sign * branch(x)`, where the branch is an affine map and an activation.

    Args:
        *branch: Affine modules, then one activation (of torch or of this package).
        sign: 1 for the usual residual layer, -1 for the one that the paper prints.

    Raises:
        ValueError: The sign is neither 1 nor -1.
    """

    def __init__(self, *branch: nn.Module, sign: int = 1) -> None:
        super().__init__()
        check_choice("sign", str(sign), ("1", "-1"))
        self.branch = nn.Sequential(*branch)
        self.sign = sign

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sign * self.branch(x)
