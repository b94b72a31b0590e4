"""Pages whose code runs as it is printed: their blocks, the files of blocks, commands of the bench."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.places import ROOT

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"bregbench[- ](\S+)")


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of every block of code on a page of `docs`."""
    return _BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))


def file_of(text: str) -> Path | None:
    """The file that a block says to be in its first line, if it does."""
    name = re.match(r"# (\S+\.(?:py|yaml))\n", text)
    return None if name is None else Path(name[1])


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a block in bash: the module of the bench that each is, and its arguments."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        name = _COMMAND.match(line)
        assert name is not None, line
        found.append((f"bregbench.cli.{name[1]}", shlex.split(line[name.end() :])))
    return found
