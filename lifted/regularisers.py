"""Sparse auxiliary variables: the l1 norm of one layer's output, in the energy or iteratively.

Source: Wang and Benning (2023), section 4.1.3 and eqs. (26), (27). Neither form changes the optimality
condition of the parameters, so x = sigma(z) still holds at a minimiser. A regulariser of the parameters
in the energy would break it (section 4.1.2); `LinBreg` regularises parameters iteratively instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bregman.validation import check_choice, check_positive
from lifted.activation import Activation, sum_features
from lifted.choices import RegulariserMode
from lifted.piecewise import shrink


@dataclass(frozen=True)
class L1Regulariser:
    """`lam |x|_1` on one auxiliary variable.

    Attributes:
        lam: The weight, alpha in eq. (26).
        mode: `variational` adds the term to the energy. `iterative` adds the term to the Bregman function
            of mirror steps and leaves the energy and its minimisers as they are.

    Raises:
        ValueError: lam is not positive, or the mode is unknown.
    """

    lam: float
    mode: str = "variational"

    def __post_init__(self) -> None:
        check_positive("lam", self.lam)
        check_choice("mode", self.mode, RegulariserMode)

    @property
    def in_energy(self) -> bool:
        """Whether the energy contains the term."""
        return self.mode == "variational"

    def value(self, x: Tensor) -> Tensor:
        """`lam |x|_1`, shape (samples,)."""
        return self.lam * sum_features(x.abs())

    def shift(self, v: Tensor, t: float | Tensor, kernel: Activation) -> Tensor:
        """The prox of `t lam |.|_1` at v; the caller applies the prox of Psi to the result.

        If Psi is even or supported on x >= 0, the prox of the sum is the composition of both proxes in
        this order (Combettes and Pesquet, 2007, for functions of one variable).
        """
        return v - self.lam * t if kernel.nonnegative else shrink(v, self.lam * t)
