"""Interleaved timing: all sides take turns in one process, and ratios are taken round by round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

Seconds = dict[str, list[float]]


def interleave(
    sides: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> Seconds:
    """Seconds per call of every side, one number a round.

    Each round begins with another side, so that none always runs behind the same neighbour (which decides
    what is left in the caches). Every side is called once before the clock starts.

    Args:
        sides: What to time, by name.
        rounds: Measurements per side.
        repeats: Calls per measurement; more for cheap calls.
        clock: Process CPU time by default, which does not count what other processes do.
    """
    names = list(sides)
    for call in sides.values():
        call()
    seconds: Seconds = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            call = sides[name]
            begin = clock()
            for _ in range(repeats):
                call()
            seconds[name].append((clock() - begin) / repeats)
    return seconds


def median_milliseconds(seconds: Seconds, name: str) -> float:
    """Median over the rounds."""
    return 1000.0 * statistics.median(seconds[name])


def median_ratio(seconds: Seconds, name: str, against: str) -> float:
    """Median over the rounds of the ratio within a round."""
    pairs = zip(seconds[name], seconds[against], strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)
