"""The search for a setting finds it where the answer is known, and remembers what it tried."""

from __future__ import annotations

import pytest

from bregbench.foundations.errors import BenchError
from bregbench.reproduce.search import Point, nearest, secant


def power_law(slope: float, calls: list[float]):
    def measure(value: float) -> float:
        calls.append(value)
        return 3.0 * value**slope

    return measure


@pytest.mark.parametrize("slope", [-0.5, -1.0, -2.0])
def test_power_law_is_solved_in_three_calls(slope):
    calls: list[float] = []
    points = secant(power_law(slope, calls), start=0.5, target=1.9)
    assert len(calls) <= 3
    assert abs(nearest(points, 1.9).metric / 1.9 - 1) <= 0.05


def test_known_points_are_used_and_not_measured_again():
    calls: list[float] = []
    known = [Point(0.5, 3.93), Point(1.0, 2.44)]
    points = secant(lambda v: calls.append(v) or 1.9, start=0.5, target=1.9, known=known)
    assert points[:2] == known
    assert calls == [pytest.approx(1.44, abs=0.01)]


def test_good_enough_known_point_ends_the_search():
    known = [Point(0.5, 1.91)]
    assert secant(lambda v: 1 / 0, start=0.5, target=1.9, known=known) == known


def test_steps_are_bounded_and_wrong_slopes_ignored():
    calls: list[float] = []

    def measure(value: float) -> float:
        calls.append(value)
        return 100.0 + value  # rises, and hardly

    secant(measure, start=1.0, target=1.0, most=3)
    assert calls == [1.0, 4.0]


def test_a_metric_of_zero_is_only_far_away():
    calls: list[float] = []

    def measure(value: float) -> float:
        calls.append(value)
        return max(0.0, 1 - value)  # a penalty that leaves nothing from 1 on

    points = secant(measure, start=8.0, target=0.5, most=6, tolerance=0.1)
    assert calls[:2] == [8.0, 2.0]
    assert nearest(points, 0.5).metric == pytest.approx(0.5, rel=0.1)


def test_nonsense_is_refused():
    with pytest.raises(BenchError, match="target=0 is out of range"):
        secant(lambda v: v, start=1.0, target=0)
    with pytest.raises(BenchError, match="nothing was tried"):
        nearest([], 1.0)
