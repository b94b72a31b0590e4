"""A check for other installed packages called `clip`, `fno` or `lifted`, which would hide ours."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bregbench.foundations.errors import BenchError

PACKAGES = ("bregman", "dessilbi", "lifted", "clip", "fno")
#: Words in the docstring of each of our packages.
_MARK = "Part of bregbench"


def shadowed() -> dict[str, str]:
    """The names of our packages that Python resolves to other packages, each with the other's folder."""
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
    """Raise an error before another package is imported in place of one of ours.

    Raises:
        BenchError: another package hides ours; the message names it and its folder.
    """
    found = shadowed()
    if found:
        where = ", ".join(f"{name} ({path})" for name, path in found.items())
        raise BenchError(
            f"another installed package hides ours: {where}; install bregbench in a fresh virtual "
            "environment, or uninstall the other package"
        )
