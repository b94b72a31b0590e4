"""Sparse auxiliary variables: the l1 norm of one layer's output, in the energy or iteratively.

Wang and Benning (2023), section 4.1.3 and eqs. (26), (27). Neither changes the optimality condition
of the parameters, so networks stay consistent; a regulariser of the parameters would not
(section 4.1.2), which is why those go through linearised Bregman iterations instead.
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
        mode: `variational` adds it to the energy. `iterative` adds it to the Bregman function of the
            iteration and leaves the energy, hence its minimisers, alone; it needs mirror steps.

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
        """The prox of `t lam |.|_1` at v, to be followed by a prox of Psi.

        For a Psi that is even, or supported on x >= 0, the prox of the sum is the composition of
        the two, in this order (Combettes and Pesquet, 2007, for functions of one variable).
        """
        return v - self.lam * t if kernel.nonnegative else shrink(v, self.lam * t)
