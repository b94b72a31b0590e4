"""Parsing and formatting of durations."""

from __future__ import annotations

import re

from bregbench.foundations.errors import BenchError


def duration(seconds: float) -> str:
    """A duration as `4:05` or `1:04:05`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_duration(text: str, *, key: str) -> float:
    """Seconds of a duration such as `90s`, `9m` or `1.5h`.

    Raises:
        BenchError: the text is no duration; the message names the key and the form.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None:
        raise BenchError(f"{key}={text} is not a duration: write 90s, 9m or 1.5h")
    return float(match[1]) * _SECONDS[match[2]]
