"""Verdicts: whether our numbers reproduce a published one.

With two seeds or more the two-sided 95 % t-interval of the mean decides, with one seed the value itself.
A number that was steered to the published one (a density by choice of lam) can be matched, but never
passes; and an accuracy is judged only beside a density that is matched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from bregbench.tables.published import Published

#: relative distance within which a steered density counts as matched
MATCH = 0.10
_ROUNDING = 1e-9
_INTERVAL = "95 % interval"


class Verdict(Enum):
    """What can be said of a cell."""

    PASS = "PASS"
    BETTER = "BETTER"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    MATCHED = "MATCHED"
    NOT_RUN = "NOT RUN"
    UNPUBLISHED = "-"


class Better(Enum):
    """Which direction is an improvement; `neither` where any deviation is a failure."""

    higher = "higher"
    lower = "lower"
    neither = "neither"


@dataclass(frozen=True)
class Judgement:
    """A verdict and why, in a few words (empty where the verdict says it all)."""

    verdict: Verdict
    reason: str = ""


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


def judge(
    values: list[float],
    published: Published,
    *,
    better: Better = Better.neither,
    steered: bool = False,
    density_matched: bool = True,
    missing: str = "not run yet",
) -> Judgement:
    """The verdict on one cell.

    Args:
        values: ours, one per seed, in the published unit; empty if there are none.
        published: the printed number and its margin.
        better: which direction is an improvement.
        steered: whether a setting was chosen so as to hit this number.
        density_matched: whether the density that this number belongs to is matched.
        missing: why there are no values.
    """
    if not values:
        return Judgement(Verdict.NOT_RUN, missing)
    if not published.given:
        return Judgement(Verdict.UNPUBLISHED)
    mean, _ = mean_and_deviation(values)
    if published.excluded:
        return Judgement(Verdict.INCONCLUSIVE, "the published number is doubtful")
    if steered:
        if abs(mean - published.value) <= MATCH * abs(published.value) + _ROUNDING:
            return Judgement(Verdict.MATCHED)
        return Judgement(Verdict.INCONCLUSIVE, "steered, but not within 10 %")
    if not density_matched:
        return Judgement(
            Verdict.INCONCLUSIVE, "its density is not within 10 % of the published one"
        )
    low, high = interval(values)
    bottom = published.value - published.margin - _ROUNDING
    top = published.value + published.margin + _ROUNDING
    if bottom <= low and high <= top:
        return Judgement(Verdict.PASS)
    if low > top:
        return Judgement(Verdict.BETTER if better is Better.higher else Verdict.FAIL)
    if high < bottom:
        return Judgement(Verdict.BETTER if better is Better.lower else Verdict.FAIL)
    return Judgement(Verdict.INCONCLUSIVE, f"{_INTERVAL} {low:.4g} to {high:.4g}")


def is_interval(reason: str) -> bool:
    """Whether a reason is an interval that leaves the matter open."""
    return reason.startswith(_INTERVAL)
