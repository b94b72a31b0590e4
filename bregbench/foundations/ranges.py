"""Ranges of options: every error names the key as the user typed it, the value and the allowed range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from bregbench.foundations.errors import require

#: Largest number of units of a layer, of classes, pairs and iterations; larger values are typing errors.
MOST = 2**20
#: Largest number of pixels along one side of an image, and of frequencies.
MOST_PIXELS = 2**14
#: Largest number of images in a batch that an evaluator makes.
MOST_IMAGES = 2**16
#: Largest number of threads of a process, and of repetitions of a phase.
MOST_THREADS = 2**10
#: Largest number of weights of one layer: 1 GiB in single precision.
MOST_WEIGHTS = 2**28


def check_counts(
    config: Any, at: str, *names: str, least: int = 1, most: int | None = None
) -> None:
    """Raise BenchError unless whole numbers are in range.

    Args:
        config: object that has the options.
        at: key of `config`, such as `phases.dense.method`.
        names: options of `config`: a number, a list of numbers or None, which is always allowed.
        least: smallest number.
        most: largest number; None for no limit.

    Raises:
        BenchError: a number is out of range; the message names the key, the value and the range.
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
    """Raise BenchError unless numbers lie in an interval with one lower and at most one upper bound.

    Args:
        config: object that has the options.
        at: key of `config`, such as `phases.dense.method`.
        names: options of `config`: a number, a list of numbers or None, which is always allowed.
        least: lower bound that is allowed itself.
        above: lower bound that is not allowed itself.
        most: upper bound that is allowed itself.
        below: upper bound that is not allowed itself.

    Raises:
        BenchError: a number is out of range; the message names the key, the value and the interval.
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
    """Raise BenchError if a layer would have more than `MOST_WEIGHTS` weights.

    Args:
        key: option that decides the widths, as the user typed it.
        value: value of the option.
        widths: units or channels of consecutive layers.
        taps: weights between two channels, such as the entries of a kernel.

    Raises:
        BenchError: a layer is too large; the message names the key, the value and the limit.
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
