"""The l1 norm of a code: the config side of `lifted.L1Regulariser`."""

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
        layer: which one, counted from 1; 0 for none.
        lam: its weight, alpha in the paper.
        mode: in the energy, or in the Bregman function of the iteration.
    """

    layer: int = 0
    lam: float = 0.09
    mode: RegulariserMode = RegulariserMode.variational

    def check(self, at: str) -> None:
        """Refuse values out of range.

        Args:
            at: key of these options, `method.code`.

        Raises:
            BenchError: names the key, the value and what is allowed.
        """
        require(self.layer >= 0, f"{at}.layer", self.layer, "a hidden layer from 1 on, or 0")
        check_numbers(self, at, "lam", above=0)

    def regularisers(self) -> dict[int, L1Regulariser]:
        """The same as `lifted` takes it."""
        if not self.layer:
            return {}
        return {self.layer: L1Regulariser(self.lam, self.mode)}
