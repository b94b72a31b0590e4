"""Statistics of seeds: intervals, equivalence, and tests of many comparisons at once.

Differences are paired by seed throughout. Sources: Efron 1979 (bootstrap); Fisher 1935 (sign flips); Holm
1979; Schuirmann 1987 (two one-sided tests); Westfall, Young 1993 (the largest of many statistics).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

#: pairs up to which all choices of signs are gone through
MOST_PAIRS = 16
_ROUNDING = 1e-9


def bootstrap_interval(
    values: Sequence[float], *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, the same at every call.

    Args:
        values: one per seed, at least one; of one value the interval is the value.
        level: share of the resampled means inside, in (0, 1).
        draws: resamples.
        seed: of the resampling.

    Raises:
        ValueError: there are no values, or the level is out of range.
    """
    if not len(values) or not 0 < level < 1:
        raise ValueError(f"{len(values)} values at level {level}: give one at least, and (0, 1)")
    sample = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(len(sample), size=(draws, len(sample)))
    low, high = np.quantile(sample[picks].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: below alpha, they are significant with all others in view.

    Args:
        p_values: of single tests, in any order.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def equivalent(differences: Sequence[float], margin: float, *, level: float = 0.95) -> bool:
    """Whether two one-sided t-tests say that the mean difference lies within a margin.

    The same as: the two-sided t-interval of level 2 level - 1 lies inside. One difference says nothing.

    Args:
        differences: paired by seed.
        margin: greater than 0, in their unit.
        level: of each of the two tests.
    """
    from scipy.stats import t

    count = len(differences)
    if count < 2:
        return False
    mean, deviation = float(np.mean(differences)), float(np.std(differences, ddof=1))
    half = float(t.ppf(level, count - 1)) * deviation / math.sqrt(count)
    return -margin < mean - half and mean + half < margin


def joint_sign_flips(differences: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """p-values of many paired comparisons, each with all others in view, exact for any number of them.

    Under the hypothesis that nothing differs, the signs of all differences of a seed may be flipped together.
    A comparison's p-value is the share of the 2^n choices of signs for which the largest |t| of all
    comparisons is at least its own |t|. Holm's correction of single sign-flip tests cannot reject with many
    comparisons and few seeds, because none of them falls below 2 / 2^n; this one can.

    Args:
        differences: by comparison, paired by seed: the same seeds in the same order in all, 2 to 16.

    Raises:
        ValueError: the numbers of seeds differ, or are out of range.
    """
    if not differences:
        return {}
    counts = {len(values) for values in differences.values()}
    if len(counts) > 1 or not 2 <= min(counts) <= MOST_PAIRS:
        raise ValueError(
            f"{sorted(counts)} differences: give the same 2 to {MOST_PAIRS} seeds in all"
        )
    table = np.array(list(differences.values()), dtype=np.float64)
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=counts.pop())))
    sizes = _sizes(table, signs)
    largest = sizes.max(axis=1)
    observed = sizes[0]
    shares = (largest[:, None] >= observed * (1 - _ROUNDING)).mean(axis=0)
    return dict(zip(differences, map(float, shares), strict=True))


def _sizes(table: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """|t| up to a monotone map, (choices, comparisons): what the mean explains of the sum of squares."""
    squares = (table**2).sum(axis=1)
    means = signs @ table.T / table.shape[1]
    return np.divide(
        table.shape[1] * means**2, squares, out=np.zeros_like(means), where=squares > 0
    )
