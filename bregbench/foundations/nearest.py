"""What somebody may have meant by a word that is unknown: in every command the same words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: share of letters in common, of which misspelt words have more and other words less
_NEAR = 0.7


def unknown(word: str, known: Iterable[str], *, there: str, prefix: str = "") -> str:
    """A refusal of an unknown word, with the nearest known one where one is near, and with all of them.

    Args:
        word: what was typed.
        known: what could have been typed.
        there: how the list of known words begins, such as `the keys here are`.
        prefix: what stands before the word and each known one, such as `method.`; the list leaves it out.
    """
    names = list(known)
    return (
        f"{prefix}{word} is unknown: {did_you_mean(word, names, prefix)}{there} {', '.join(names)}"
    )


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """`did you mean X? ` for the nearest known word, or nothing where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=_NEAR)
    return f"did you mean {prefix}{near[0]}? " if near else ""
