"""Closed sets of words for settings of this package; a member equals its word, so both are accepted."""

from __future__ import annotations

from enum import StrEnum


class PenaltyName(StrEnum):
    """The convex functionals of `bregman.penalties`."""

    none = "none"
    l1 = "l1"
    l12 = "l12"
    nonnegative = "nonnegative"
    nuclear = "nuclear"


class GroupName(StrEnum):
    """Which entries of a tensor form one group of the l1,2 penalty: see `bregman.groups`."""

    kernel = "kernel"
    filter = "filter"
    channel = "channel"
    row = "row"
    column = "column"
    complex = "complex"


class GroupWeight(StrEnum):
    """Weight of a group in the l1,2 penalty: the square root of its size, or 1."""

    sqrt = "sqrt"
    none = "none"


class Grouping(StrEnum):
    """Which entries of a weight are kept or dropped as a whole: see `bregman.layers`."""

    entry = "entry"
    kernel = "kernel"
    filter = "filter"
    row = "row"


class Scope(StrEnum):
    """Whether magnitudes compete within each layer or over all of them."""

    layer = "layer"
    all = "global"


class BiasScheme(StrEnum):
    """Distribution of the biases: U(0, s), U(-s, s) or zero."""

    positive = "positive"
    symmetric = "symmetric"
    zero = "zero"
