"""Verdicts: whether our numbers reproduce a published one.

With two seeds or more the two-sided 95 % t-interval of the mean decides, with one seed the value itself.
A number that was tuned to the published one (a density by the choice of lam) can be MATCHED, but never PASS.
An accuracy is judged only if its densities are matched. A number is BETTER only if the numbers that trade off
with it hold. A number that does not depend on training is no evidence: it is BY CONSTRUCTION at most.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from enum import Enum, StrEnum

from bregbench.tables.published import Published

#: relative distance within which a steered density counts as matched
MATCH = 0.10
_ROUNDING = 1e-9
#: smallest number of pairs for which a sign-flip test can reject at 5 %: 2 / 2^6 < 0.05 < 2 / 2^5
LEAST_PAIRS = 6
#: largest number of pairs for which all choices of signs are enumerated
_MOST_PAIRS = 20


class Verdict(StrEnum):
    """The verdicts on a cell."""

    PASS = "PASS"
    BETTER = "BETTER"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    MATCHED = "MATCHED"
    BY_CONSTRUCTION = "BY CONSTRUCTION"
    NOT_RUN = "NOT RUN"
    UNPUBLISHED = "-"


class Better(Enum):
    """Which direction is an improvement; `neither` where any deviation is a failure."""

    higher = "higher"
    lower = "lower"
    neither = "neither"


@dataclass(frozen=True)
class Judgement:
    """A verdict and why.

    Attributes:
        verdict: the verdict.
        reason: why, in a few words; empty if the verdict needs no reason.
        wide: whether the reason is an interval that reaches into the margin and beyond it.
    """

    verdict: Verdict
    reason: str = ""
    wide: bool = False


def mean_and_deviation(values: list[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (None for a single value)."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def interval(values: list[float]) -> tuple[float, float]:
    """Two-sided 95 % t-interval of the mean; the value itself where there is only one."""
    from scipy.stats import t

    mean, deviation = mean_and_deviation(values)
    if deviation is None:
        return mean, mean
    half = float(t.ppf(0.975, len(values) - 1)) * deviation / math.sqrt(len(values))
    return mean - half, mean + half


@dataclass(frozen=True)
class Circumstances:
    """What a verdict depends on besides the numbers.

    Attributes:
        better: which direction is an improvement.
        steered: whether a setting was tuned to reach this number.
        constructed: whether the number does not depend on training.
        unmatched: headers of the columns in `Column.beside` (densities) that are not matched.
        lost: headers of the columns in `Column.against` that do not hold.
        missing: why there are no values.
    """

    better: Better = Better.neither
    steered: bool = False
    constructed: bool = False
    unmatched: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    missing: str = "not run yet"


def judge(values: list[float], published: Published, known: Circumstances) -> Judgement:
    """The verdict on one cell.

    Args:
        values: ours, one per seed, in the published unit; empty if there are none.
        published: the printed number and its margin.
        known: what else the verdict depends on.
    """
    if not values:
        return Judgement(Verdict.NOT_RUN, known.missing)
    if not published.given:
        return Judgement(Verdict.UNPUBLISHED)
    if published.excluded:
        return Judgement(Verdict.INCONCLUSIVE, "the published number is doubtful")
    if known.steered:
        mean, _ = mean_and_deviation(values)
        if abs(mean - published.value) <= MATCH * abs(published.value) + _ROUNDING:
            return Judgement(Verdict.MATCHED)
        return Judgement(Verdict.INCONCLUSIVE, "steered, but not within 10 %")
    if known.unmatched:
        verb = "are" if len(known.unmatched) > 1 else "is"
        reason = f"{' and '.join(known.unmatched)} {verb} not matched"
        return Judgement(Verdict.INCONCLUSIVE, reason)
    found = _compare(values, published, known.better)
    if known.constructed and found.verdict is Verdict.PASS:
        return Judgement(Verdict.BY_CONSTRUCTION)
    if known.lost and found.verdict is Verdict.BETTER:
        verb = "do" if len(known.lost) > 1 else "does"
        reason = f"beyond the published number, but {' and '.join(known.lost)} {verb} not hold"
        return Judgement(Verdict.INCONCLUSIVE, reason)
    return found


def _compare(values: list[float], published: Published, better: Better) -> Judgement:
    """The verdict from interval and margin alone."""
    low, high = interval(values)
    bottom, top = _bounds(published)
    if bottom <= low and high <= top:
        return Judgement(Verdict.PASS)
    if low > top:
        return Judgement(Verdict.BETTER if better is Better.higher else Verdict.FAIL)
    if high < bottom:
        return Judgement(Verdict.BETTER if better is Better.lower else Verdict.FAIL)
    reason = f"95 % interval {low:.4g} to {high:.4g}"
    return Judgement(Verdict.INCONCLUSIVE, reason, wide=True)


def holds(values: list[float], published: Published, better: Better) -> bool:
    """Whether ours is no worse than the published number by more than its margin.

    Args:
        values: ours, one per seed; without values the result is False.
        published: the printed number; without one the result is True.
        better: which direction is an improvement; `neither` allows no deviation beyond the margin.
    """
    if not published.given:
        return True
    if not values:
        return False
    low, high = interval(values)
    bottom, top = _bounds(published)
    return (better is Better.lower or low >= bottom) and (better is Better.higher or high <= top)


def side(values: list[float], published: Published) -> int:
    """1 if the interval of our mean lies above the margin, -1 if it lies below, 0 otherwise."""
    if not values or not published.given:
        return 0
    low, high = interval(values)
    bottom, top = _bounds(published)
    return int(low > top) - int(high < bottom)


def _bounds(published: Published) -> tuple[float, float]:
    return (
        published.value - published.margin - _ROUNDING,
        published.value + published.margin + _ROUNDING,
    )


def sign_flip(differences: list[float]) -> float:
    """Two-sided p-value of the exact sign-flip test that the mean of paired differences is zero.

    Under the hypothesis each difference is as likely as its negative, so the mean is compared with those
    of all 2^n choices of signs (Fisher, 1935). With fewer than six pairs no p-value is below 0.05.

    Args:
        differences: one per pair, twenty at most.

    Raises:
        ValueError: there are none, or more than twenty.
    """
    if not 1 <= len(differences) <= _MOST_PAIRS:
        raise ValueError(
            f"{len(differences)} differences: the exact sign-flip test takes 1 to {_MOST_PAIRS}"
        )
    observed = abs(math.fsum(differences))
    tolerance = _ROUNDING * math.fsum(abs(value) for value in differences)
    signs = itertools.product((1, -1), repeat=len(differences))
    sums = [
        abs(math.fsum(s * d for s, d in zip(choice, differences, strict=True))) for choice in signs
    ]
    return sum(value >= observed - tolerance for value in sums) / len(sums)
