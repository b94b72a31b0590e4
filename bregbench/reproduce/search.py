"""Search for a setting that a paper does not state: the value at which a metric reaches a target.

The secant method works on logarithms, because densities are close to powers of lam. Each point is a run of a
table's row, in full or shortened; a repeated search reads its finished runs and continues.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bregbench.foundations.errors import BenchError, require

#: largest factor between two values that are tried one after the other
_LONGEST_STEP = 4.0


@dataclass(frozen=True)
class Point:
    """A value that was tried, and the metric that came out."""

    value: float
    metric: float


def secant(
    measure: Callable[[float], float],
    *,
    start: float,
    target: float,
    tolerance: float = 0.05,
    most: int = 3,
    known: list[Point] | None = None,
    slope: float = -1.0,
) -> list[Point]:
    """Try values until the metric is within a relative tolerance of the target.

    Args:
        measure: the metric at a value; expensive.
        start: first value, greater than 0.
        target: wanted metric, greater than 0.
        tolerance: relative distance that is near enough.
        most: largest number of calls of `measure`.
        known: points measured before.
        slope: of log metric over log value, assumed until two points are known.

    Returns:
        All points, the known ones first; `nearest` picks the best.

    Raises:
        BenchError: start or target is not positive.
    """
    require(start > 0, "start", start, "greater than 0")
    require(target > 0, "target", target, "greater than 0")
    points = list(known or [])
    for _ in range(most):
        if points and abs(nearest(points, target).metric / target - 1) <= tolerance:
            break
        value = _next_value(points, start=start, target=target, slope=slope)
        if value in {point.value for point in points}:
            break  # The value has been measured already: another run would give the same metric.
        points.append(Point(value, measure(value)))
    return points


def nearest(points: list[Point], target: float) -> Point:
    """The point whose metric is relatively closest to the target.

    Raises:
        BenchError: there are no points.
    """
    if not points:
        raise BenchError("nothing was tried: allow at least one run")
    return min(points, key=lambda point: _distance(point, target))


def _next_value(points: list[Point], *, start: float, target: float, slope: float) -> float:
    if not points:
        return start
    # Of equally distant points take the latest: from an earlier one the same step would come again.
    latest = points[::-1]
    best, *others = sorted(latest, key=lambda point: _distance(point, target))
    if others and others[0].value != best.value and others[0].metric != best.metric:
        rise = _log(others[0].metric) - _log(best.metric)
        found = rise / math.log(others[0].value / best.value)
        # A slope of the opposite sign comes from noise of nearby points: keep the assumed slope.
        slope = found if found * slope > 0 else slope
    step = (math.log(target) - _log(best.metric)) / slope
    step = max(-math.log(_LONGEST_STEP), min(math.log(_LONGEST_STEP), step))
    # Three digits are enough, and make values that can be read and typed.
    return float(f"{best.value * math.exp(step):.3g}")


def _distance(point: Point, target: float) -> float:
    return abs(_log(point.metric) - math.log(target))


def _log(metric: float) -> float:
    # A density can be 0, where a penalty has left nothing.
    return math.log(max(metric, 1e-12))
