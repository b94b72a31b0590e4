"""How help is laid out: lines of 80 columns, terms on the left, what they mean on the right."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

WIDTH = 80
#: a term that is longer has its meaning on the lines below it
_LONGEST_TERM = 26


def definitions(meanings: Mapping[str, str]) -> str:
    """One entry a term, indented by two; the meanings begin in one column."""
    column = 4 + min(max(map(len, meanings)), _LONGEST_TERM)
    return "".join(_entry(term, meaning, column) for term, meaning in meanings.items())


def filled(text: str, *, indent: int) -> str:
    """Text in indented lines, broken between words alone."""
    space = " " * indent
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=space,
        subsequent_indent=space,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return "\n".join(lines)


def _entry(term: str, meaning: str, column: int) -> str:
    head = f"  {term}"
    below = filled(meaning, indent=column)
    if len(head) + 2 <= column:
        return head + below[len(head) :] + "\n"
    return f"{head}\n{below}\n"
