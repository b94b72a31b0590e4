"""Options of the pair set and of its ascent: configs of `clip.PairSet` and `clip.Ascent`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import clip
from bregbench.data.loader import to_unit_interval
from bregbench.foundations.errors import require
from bregbench.foundations.ranges import MOST, check_counts, check_numbers
from bregbench.tasks.context import RunContext
from clip.choices import Adapt, NoiseKind

#: largest number of pairs if the config gives none
_MOST_PAIRS = 500


class Pool(StrEnum):
    """Which images pairs are made of."""

    validation = "validation"
    train = "train"


class Source(StrEnum):
    """Kinds of pairs: an image and a noisy copy, two images, or two random points."""

    noisy = "noisy"
    images = "images"
    uniform = "uniform"


@dataclass
class PairsConfig:
    """The pair set X_Lip.

    Attributes:
        source: what a pair is.
        pool: where images come from; the paper sets images aside (`data.validation=6000`).
        count: number of pairs; None for 500, or for the number of images if there are fewer.
        low: smallest value of uniform points.
        high: largest value of uniform points.
        noise: scale of the noise on images in [0, 1]; 0 pairs independent uniform points.
        distribution: distribution of the noise.
        refresh: when new pairs are drawn: `never`, `epoch`, or a number of steps.
        limited: whether points are kept in [0, 1].
        per_step: number of pairs that each step uses, in turns; None for all.
    """

    source: Source = Source.noisy
    pool: Pool = Pool.validation
    count: int | None = None
    low: float = 0.0
    high: float = 1.0
    noise: float = 0.1
    distribution: NoiseKind = NoiseKind.normal
    refresh: str = "never"
    limited: bool = False
    per_step: int | None = None

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of these options, such as `objective.pairs`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        check_counts(self, at, "count", "per_step", most=MOST)
        require(self.low < self.high, f"{at}.high", self.high, f"greater than {at}.low={self.low}")
        if self.source is Source.noisy:
            check_numbers(self, at, "noise", above=0)
        check_numbers(self, at, "noise", least=0)
        steps = self.refresh.isdecimal() and int(self.refresh) > 0
        allowed = "never, epoch, or a number of steps from 1 on"
        require(steps or self.refresh in ("never", "epoch"), f"{at}.refresh", self.refresh, allowed)

    def build(self, context: RunContext) -> clip.PairSet:
        """The pairs, on the device.

        Raises:
            BenchError: the number of pairs does not fit the images.
            ValueError: a value is out of range.
        """
        return clip.PairSet(
            self._source(context),
            refresh=int(self.refresh) if self.refresh.isdigit() else self.refresh,  # type: ignore[arg-type]
            value_range=(0.0, 1.0) if self.limited else None,
            generator=context.streams.generator("lipschitz_pairs"),
        )

    def _source(self, context: RunContext) -> clip.PairSource:
        if self.source is Source.uniform:
            count = _MOST_PAIRS if self.count is None else self.count
            return clip.UniformPoints(
                context.data.input_shape,
                count,
                low=self.low,
                high=self.high,
                noise=self.noise,
                kind=self.distribution,
            )
        split = context.data.validation if self.pool is Pool.validation else context.data.train
        count = min(_MOST_PAIRS, len(split)) if self.count is None else self.count
        require(
            0 < count <= len(split),
            "objective.pairs.count",
            count,
            f"in 1..{len(split)}, the {self.pool.name} images (see data.validation)",
        )
        images = to_unit_interval(split.images)
        if self.source is Source.images:
            return clip.DataPairs(images, count)
        return clip.NoisyData(images, count, self.noise, self.distribution)


@dataclass
class AscentConfig:
    """How pairs move (Algorithm 1).

    Attributes:
        step_size: step size tau.
        accept: whether a pair moves only if its quotient grows.
        adapt: which step sizes adapt to accepted and refused moves.
        growth: factor of a step size after an accepted move.
        shrink: factor of a step size after a refused move.
    """

    step_size: float = 1.0
    accept: bool = True
    adapt: Adapt = Adapt.pair
    growth: float = 1.3
    shrink: float = 0.5

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of these options, such as `objective.ascent`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        check_numbers(self, at, "step_size", above=0)
        check_numbers(self, at, "growth", least=1)
        check_numbers(self, at, "shrink", above=0, most=1)
        fits = self.accept or self.adapt is Adapt.none
        allowed = f"none where {at}.accept=false: steps adapt to whether pairs move"
        require(fits, f"{at}.adapt", self.adapt, allowed)

    def build(self) -> clip.Ascent:
        """The ascent with these options.

        Raises:
            ValueError: a value is out of range.
        """
        return clip.Ascent(
            step_size=self.step_size,
            accept=self.accept,
            adapt=self.adapt,
            growth=self.growth,
            shrink=self.shrink,
        )
