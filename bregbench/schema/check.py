"""The one check of a config: a walk over the tree of its dataclasses, before anything is built."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from bregbench.foundations.errors import require

#: Largest whole number that torch and files can hold.
_LARGEST_INT = 2**63 - 1


@runtime_checkable
class Checked(Protocol):
    """A part of a config that checks its own ranges."""

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of this part as the user typed it, such as `phases.dense.objective`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        ...


def check_tree(config: Any, at: str) -> None:
    """Raise BenchError if a value is out of range in a part of a config or in its own parts.

    Args:
        config: a dataclass.
        at: key of the dataclass; empty for a whole config, whose own `check` the caller calls.

    Raises:
        BenchError: a number is not finite, or a part refuses one of its values.
    """
    nodes = list(walk(config, at))
    for key, node in nodes:
        for name, value in _numbers(node):
            check_representable(f"{key}.{name}" if key else name, value)
    # A check may compare numbers of other parts, so all numbers were checked to be finite first.
    for key, node in nodes:
        if key and isinstance(node, Checked):
            node.check(key)


def walk(config: Any, at: str) -> Iterator[tuple[str, Any]]:
    """The config itself and every dataclass in it, each with its key."""
    yield at, config
    for field in dataclasses.fields(config):
        key = f"{at}.{field.name}" if at else field.name
        value = getattr(config, field.name)
        if isinstance(value, dict):
            children = [(f"{key}.{name}", item) for name, item in value.items()]
        elif isinstance(value, list):
            children = [(f"{key}[{index}]", item) for index, item in enumerate(value)]
        else:
            children = [(key, value)]
        for name, child in children:
            if dataclasses.is_dataclass(child) and not isinstance(child, type):
                yield from walk(child, name)


def check_representable(key: str, value: Any) -> None:
    """Raise BenchError if a number, alone or in a list, is not finite or too large for 64 bits.

    Raises:
        BenchError: a number cannot be represented; the message names the key and the value.
    """
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, int):
            allowed = "a whole number below 2^63 in size"
            require(abs(number) <= _LARGEST_INT, key, value, allowed)
        else:
            require(math.isfinite(number), key, value, "a finite number")


def _numbers(node: Any) -> Iterator[tuple[str, Any]]:
    """Options that are numbers or lists of numbers."""
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        each = value if isinstance(value, list) else [value]
        if each and all(isinstance(item, int | float) for item in each):
            yield field.name, value
