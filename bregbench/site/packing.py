"""Making many small values short: texts that repeat are stored once, numbers keep what a plot shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

#: significant digits of a number on a curve
DIGITS = 4


class Texts:
    """Texts by their place in a list, so that each is stored once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        """Where a text stands in the list; it is added if it is new."""
        return self._places.setdefault(text, len(self._places))

    def all(self) -> list[str]:
        """The list."""
        return list(self._places)


def rounded(value: float | None) -> float | int | None:
    """A number with four significant digits; None for one that JSON and plots do not know."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short


def thinned(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, evenly spread, the first and the last among them.

    Args:
        count: how many places there are.
        most: how many may stay, at least 2.
    """
    if count <= most:
        return list(range(count))
    return sorted({round(k * (count - 1) / (most - 1)) for k in range(most)})


def column(values: Sequence[float | None]) -> list[Any]:
    """Rounded values; a single one where all are equal."""
    short = [rounded(value) for value in values]
    return short[:1] if len(set(short)) == 1 else short


def flat(tree: Any, before: str = "") -> Iterable[tuple[str, Any]]:
    """The leaves of nested mappings with their dotted keys; lists are leaves."""
    if not isinstance(tree, dict) or not tree:
        yield before, tree
        return
    for key, below in tree.items():
        yield from flat(below, f"{before}.{key}" if before else key)
