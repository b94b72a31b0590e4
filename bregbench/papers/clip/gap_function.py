"""A function of one variable, known on three intervals: regression with gaps (CLIP paper, Figure 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from bregbench.data.base import DatasetConfig
from bregbench.data.normalization import Normalization
from bregbench.data.raw import RawData
from bregbench.data.split import Data, Split
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import MOST, check_counts, check_numbers

_INTERVALS = ((-4.0, -3.0), (-0.3, 0.3), (3.0, 4.0))
_TEST_POINTS = 801
#: points of an epoch: they and their repetitions lie in memory
_MOST_POINTS = 2**28


def truth(x: torch.Tensor) -> torch.Tensor:
    """max(|x| - 3, 0) / 2, whose Lipschitz constant is 1/2."""
    return 0.5 * (x.abs() - 3).clamp(min=0)


@dataclass
class GapFunction(DatasetConfig):
    """Noisy values of a function at random points of [-4, -3], [-0.3, 0.3] and [3, 4].

    Inputs are float32 ``(n, 1, 1, 1)``, targets float32 ``(n,)``. Validation points are drawn like the
    training points, without noise; test points are a grid of [-4, 4], gaps included, without noise.

    Attributes:
        points: training points, a third in each interval; they depend on `split_seed` alone.
        noise: standard deviation of the values' error.
        repeats: how often an epoch sees each point.
    """

    kind: ClassVar[str] = "gap_function"

    points: int = 100
    noise: float = 0.06
    repeats: int = 100

    def check(self, at: str) -> None:
        """Also refuse values that have no meaning here.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        for key in ("path", "limit", "validation"):
            value = getattr(self, key)
            require(value is None, f"{at}.{key}", value, "left out for dataset=gap_function")
        super().check(at)
        check_counts(self, at, "points", least=len(_INTERVALS), most=MOST)
        check_counts(self, at, "repeats", most=MOST)
        check_numbers(self, at, "noise", least=0)
        seen = self.points * self.repeats
        allowed = f"smaller: an epoch would have {seen} points, and {_MOST_POINTS} are the limit"
        require(seen <= _MOST_POINTS, f"{at}.repeats", self.repeats, allowed)

    def load(self) -> RawData:
        raise BenchError("dataset=gap_function has no images")

    def build(self, device: torch.device) -> Data:
        """See `DatasetConfig.build`."""
        generator = torch.Generator().manual_seed(self.split_seed)
        x, drawn = self._draw(generator), self._draw(generator)
        values = truth(x) + self.noise * torch.randn(x.shape, generator=generator)
        return Data(
            train=_split(x.repeat(self.repeats), values.repeat(self.repeats), device),
            validation=_split(drawn, truth(drawn), device),
            test=_split(grid := torch.linspace(-4, 4, _TEST_POINTS), truth(grid), device),
            classes=1,
            normalization=Normalization.identity(1),
            name=self.kind,
        )

    def _draw(self, generator: torch.Generator) -> torch.Tensor:
        share, rest = divmod(self.points, len(_INTERVALS))
        return torch.cat(
            [
                low + (high - low) * torch.rand(share + (index < rest), generator=generator)
                for index, (low, high) in enumerate(_INTERVALS)
            ]
        )


def _split(x: torch.Tensor, values: torch.Tensor, device: torch.device) -> Split:
    return Split(x.reshape(-1, 1, 1, 1).to(device), values.to(device))
