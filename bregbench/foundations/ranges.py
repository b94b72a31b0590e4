"""Ranges of options: every refusal names the key as the user typed it, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from bregbench.foundations.errors import require

#: units of a layer, classes, pairs, iterations: no run means more
MOST = 2**20
#: pixels along one side of an image, and frequencies
MOST_PIXELS = 2**14
#: images in a batch that an evaluator makes
MOST_IMAGES = 2**16
#: threads of a process, and repetitions of a phase
MOST_THREADS = 2**10
#: weights of one layer: 1 GiB in single precision
MOST_WEIGHTS = 2**28


def check_counts(
    config: Any, at: str, *names: str, least: int = 1, most: int | None = None
) -> None:
    """Refuse whole numbers out of range.

    Args:
        config: has the options.
        at: key of `config`, such as `phases.dense.method`.
        names: options of `config`: a number, a list of numbers or None, which is always allowed.
        least: smallest number.
        most: largest number; None for no limit.

    Raises:
        BenchError: names the key, the value and what is allowed.
    """
    _check(config, at, names, lambda value: value >= least, f"at least {least}")
    if most is not None:
        _check(config, at, names, lambda value: value <= most, f"at most {most}")


def check_numbers(
    config: Any,
    at: str,
    *names: str,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> None:
    """Refuse numbers outside an interval, which has one lower bound and at most one upper bound.

    Args:
        config: has the options.
        at: key of `config`, such as `phases.dense.method`.
        names: options of `config`: a number, a list of numbers or None, which is always allowed.
        least: lower bound that is allowed itself.
        above: lower bound that is not allowed itself.
        most: upper bound that is allowed itself.
        below: upper bound that is not allowed itself.

    Raises:
        BenchError: names the key, the value and what is allowed.
    """
    if most is None and below is None:
        allowed = f"at least {least}" if above is None else f"greater than {above}"
    else:
        lower = f"[{least}" if above is None else f"({above}"
        allowed = f"in {lower}, " + (f"{most}]" if below is None else f"{below})")

    def holds(value: float) -> bool:
        return (
            (least is None or value >= least)
            and (above is None or value > above)
            and (most is None or value <= most)
            and (below is None or value < below)
        )

    _check(config, at, names, holds, allowed)


def check_layers(key: str, value: object, widths: Sequence[int], *, taps: int = 1) -> None:
    """Refuse layers with more than `MOST_WEIGHTS` weights.

    Args:
        key: option that decides the widths, as the user typed it.
        value: of the option.
        widths: units or channels of consecutive layers.
        taps: weights between two channels, such as the entries of a kernel.

    Raises:
        BenchError: names the key, the value and the limit.
    """
    largest = max((inputs * outputs for inputs, outputs in pairwise(widths)), default=0) * taps
    allowed = f"smaller: a layer would have {largest} weights, and {MOST_WEIGHTS} are the limit"
    require(largest <= MOST_WEIGHTS, key, value, allowed)


def _check(
    config: Any, at: str, names: Sequence[str], holds: Callable[[Any], bool], allowed: str
) -> None:
    for name in names:
        value = getattr(config, name)
        if value is None:
            continue
        each = value if isinstance(value, list) else [value]
        require(all(map(holds, each)), f"{at}.{name}", value, allowed)
