"""Closed sets of words for settings of this package; a member equals its word, so both are accepted."""

from __future__ import annotations

from enum import StrEnum


class Scaling(StrEnum):
    """Magnitude scaling of V: none, eqs. 14-15, or the form of these equations in the published code."""

    none = "none"
    magnitude = "magnitude"
    released = "released"


class GrowthMode(StrEnum):
    """How a network grows: new inputs start at random, as published, or outputs and state are kept."""

    reset = "reset"
    preserve = "preserve"
