"""The l1 norm of a code: config of `lifted.L1Regulariser`."""

from __future__ import annotations

from dataclasses import dataclass

from bregbench.foundations.errors import require
from bregbench.foundations.ranges import check_numbers
from lifted.choices import RegulariserMode
from lifted.regularisers import L1Regulariser


@dataclass
class CodeConfig:
    """The l1 norm of one hidden layer's output.

    Attributes:
        layer: number of the layer, counted from 1; 0 for none.
        lam: weight of the norm, alpha in the paper.
        mode: whether the norm is part of the energy or of the Bregman function of the iteration.
    """

    layer: int = 0
    lam: float = 0.09
    mode: RegulariserMode = RegulariserMode.variational

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of these options, `method.code`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        require(self.layer >= 0, f"{at}.layer", self.layer, "a hidden layer from 1 on, or 0")
        check_numbers(self, at, "lam", above=0)

    def regularisers(self) -> dict[int, L1Regulariser]:
        """The regularisers for `lifted`, by number of the layer."""
        if not self.layer:
            return {}
        return {self.layer: L1Regulariser(self.lam, self.mode)}
