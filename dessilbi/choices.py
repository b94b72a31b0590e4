"""The words that settings of this package may have; a member equals its word, so either is taken."""

from __future__ import annotations

from enum import StrEnum


class Scaling(StrEnum):
    """Magnitude scaling of V: none, equations 14-15, or the published code's form of them."""

    none = "none"
    magnitude = "magnitude"
    released = "released"


class GrowthMode(StrEnum):
    """Start anew around new filters, as published, or keep outputs and state."""

    reset = "reset"
    preserve = "preserve"
