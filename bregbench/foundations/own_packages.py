"""Other installed packages called `clip`, `fno` or `lifted` would hide ours: say so, early and clearly."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bregbench.foundations.errors import BenchError

PACKAGES = ("bregman", "dessilbi", "lifted", "clip", "fno")
#: stands in the docstring of each of our packages
_MARK = "Part of bregbench"


def shadowed() -> dict[str, str]:
    """Which of our package names Python resolves to something else, and where that lies."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        origin = spec.origin if spec is not None else None
        if origin is None:
            found[name] = "nowhere"
        elif _MARK not in Path(origin).read_text(encoding="utf-8"):
            found[name] = str(Path(origin).parent)
    return found


def refuse_shadowed() -> None:
    """Stop before a stranger's package is imported for one of ours.

    Raises:
        BenchError: names the packages and where the strangers lie.
    """
    found = shadowed()
    if found:
        where = ", ".join(f"{name} ({path})" for name, path in found.items())
        raise BenchError(
            f"another installed package hides ours: {where}; install bregbench in a fresh virtual "
            "environment, or uninstall the other package"
        )
