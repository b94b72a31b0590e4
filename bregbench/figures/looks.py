"""How a curve looks: one colour for each method in all figures, and styles that tell its variants apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: colours that people with any common form of colour blindness can tell apart (Okabe and Ito)
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
STYLES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")

#: the colour of each kind of method, whatever else a figure shows
_OF_METHODS = {
    "sgd": "#555555",
    "adam": "#8C564B",
    "linbreg": "#0072B2",
    "adabreg": "#D55E00",
    "prox_sgd": "#009E73",
    "dessilbi": "#CC79A7",
    "lifted": "#E69F00",
}


@dataclass(frozen=True)
class Look:
    """Colour, line style and marker of a curve."""

    color: str
    style: str | tuple[int, tuple[int, ...]] = "-"
    marker: str = "o"


def looks_of(kinds: Mapping[str, str]) -> dict[str, Look]:
    """A look for each curve: the colour of its method; variants of a method differ in tint and style.

    Where all curves have the same method, colours tell the curves apart instead.

    Args:
        kinds: the kind of method of each curve, by the curve's label.
    """
    if len(set(kinds.values())) == 1:
        return {label: _numbered(number) for number, label in enumerate(kinds)}
    variants: dict[str, list[str]] = {}
    for label, kind in kinds.items():
        variants.setdefault(kind, []).append(label)
    spare = (color for color in PALETTE if color not in _OF_METHODS.values())
    looks: dict[str, Look] = {}
    for kind, labels in variants.items():
        color = _OF_METHODS.get(kind) or next(spare, "#999999")
        for number, label in enumerate(labels):
            tint = _tinted(color, number / max(len(labels), 3))
            style, marker = STYLES[number % len(STYLES)], MARKERS[number % len(MARKERS)]
            looks[label] = Look(tint, style, marker)
    return {label: looks[label] for label in kinds}


def _numbered(number: int) -> Look:
    """The look of a curve among curves of one method: a colour each, and another style each eight."""
    turn, place = divmod(number, len(PALETTE))
    return Look(PALETTE[place], STYLES[turn % len(STYLES)], MARKERS[turn % len(MARKERS)])


def _tinted(color: str, share: float) -> str:
    """A colour mixed with a share of white."""
    parts = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(part + share * 0.75 * (255 - part)):02x}" for part in parts)
