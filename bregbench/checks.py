"""Range checks of config values, with messages that a user can act on."""

from __future__ import annotations

from bregbench.errors import BenchError


def require(condition: bool, key: str, value: object, allowed: str) -> None:
    """Refuse a value outside its range.

    Raises:
        BenchError: names the key as the user typed it, the value and what is allowed.
    """
    if not condition:
        raise BenchError(f"{key}={value} is out of range: {key} must be {allowed}")
