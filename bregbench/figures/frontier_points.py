"""What the frontier shows: accuracies by density with intervals, comparisons by seed, and Pareto fronts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bregbench.measures.statistics import bootstrap_interval, equivalent, holm, joint_sign_flips
from bregbench.tables.cells import FilledRow
from bregbench.tables.verdicts import mean_and_deviation, sign_flip

#: below this a p-value is called significant
ALPHA = 0.05


@dataclass(frozen=True)
class Point:
    """A row in one part of the table.

    Attributes:
        row: its label.
        values: accuracy by seed, in percent.
        density: mean, in percent.
        seconds: of training, mean.
    """

    row: str
    values: dict[int, float]
    density: float
    seconds: float

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return mean_and_deviation(list(self.values.values()))[0]

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the mean."""
        return bootstrap_interval(list(self.values.values()))


@dataclass(frozen=True)
class Comparison:
    """A row against another one, paired by seed.

    Attributes:
        against: the other row.
        difference: mean of this row's accuracy minus the other's, in points.
        seeds: how many they have in common.
        p: of the exact sign-flip test alone.
        p_holm: the same with Holm's correction over the comparisons with that row.
        p_joint: of the joint sign-flip test of them.
        equivalent: whether they lie within the margin.
    """

    against: str
    difference: float
    seeds: int
    p: float
    p_holm: float
    p_joint: float
    equivalent: bool

    @property
    def significant(self) -> bool:
        """Whether the joint test says that the rows differ."""
        return self.p_joint < ALPHA

    def __str__(self) -> str:
        if self.seeds < 2:
            return f"{self.difference:+.2f} (n=1)"
        mark = "*" if self.significant else " =" if self.equivalent else ""
        return f"{self.difference:+.2f}{mark}"


def points_of(rows: Sequence[FilledRow], part: str) -> list[Point]:
    """The rows that have runs in a part."""
    accuracy, density = f"{part} test/accuracy", f"{part} density/total"
    found: list[Point] = []
    for row in rows:
        cell, runs = row.cells.get(accuracy), row.runs_of(accuracy)
        if cell is None or not cell.values or len(cell.values) != len(runs):
            continue
        densities = row.cells[density].values or [math.nan]
        seconds = [run.read_summary()["seconds"] for run in runs.values()]
        values = dict(zip(runs, cell.values, strict=True))
        means = (mean_and_deviation(numbers)[0] for numbers in (densities, seconds))
        found.append(Point(row.label, values, *means))
    return found


def best_of(points: Sequence[Point]) -> str | None:
    """The sparse row with the largest mean accuracy."""
    sparse = [point for point in points if point.density < 99]
    return max(sparse, key=lambda point: point.mean).row if sparse else None


def compare(points: Sequence[Point], against: str, margin: float) -> dict[str, Comparison]:
    """Every row against one of them, paired by the seeds that all of them have in common.

    Args:
        points: of one part.
        against: label of the row; without it there is nothing to compare.
        margin: points within which two rows count as equal.
    """
    known = {point.row: point.values for point in points}
    if against not in known:
        return {}
    seeds = sorted(set.intersection(*(set(values) for values in known.values())))
    if not seeds:
        return {}
    differences = {
        row: [values[seed] - known[against][seed] for seed in seeds]
        for row, values in known.items()
        if row != against
    }
    single = {row: sign_flip(values) for row, values in differences.items()}
    corrected = dict(zip(single, holm(list(single.values())), strict=True))
    joint = joint_sign_flips(differences) if len(seeds) > 1 else single
    return {
        row: Comparison(
            against,
            mean_and_deviation(values)[0],
            len(seeds),
            single[row],
            corrected[row],
            joint[row],
            equivalent(values, margin),
        )
        for row, values in differences.items()
    }


def front(points: Sequence[Point], cost: str) -> set[str]:
    """The rows that no other row beats in accuracy without costing more.

    Args:
        points: of one or several parts.
        cost: `density` or `seconds`.
    """

    def beaten(point: Point) -> bool:
        price = getattr(point, cost)
        return any(o.mean > point.mean and getattr(o, cost) <= price for o in points)

    return {point.row for point in points if not beaten(point)}
