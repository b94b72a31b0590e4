"""Closed sets of words for settings of this package; a member equals its word, so both are accepted."""

from __future__ import annotations

from enum import StrEnum


class PenaltyName(StrEnum):
    """The penalty that ties a hidden output to the layer below: (13), (7) or (6) of the paper."""

    bregman = "bregman"
    classical = "classical"
    mac = "mac"


class RegulariserMode(StrEnum):
    """Whether the l1 norm of a layer's output is part of the energy (26), (27) or of the iteration."""

    variational = "variational"
    iterative = "iterative"


class Convention(StrEnum):
    """The meaning of the paper's tau^k: see `lifted.paper_rho`."""

    sum = "sum"
    literal = "literal"
    reciprocal = "reciprocal"


class Order(StrEnum):
    """Order of an implicit step: Algorithm 1 as printed, sweeps, or all of X and then all of Theta."""

    layer = "layer"
    sweep = "sweep"
    alternating = "alternating"


class XStep(StrEnum):
    """Step in auxiliary variables: proximal (17b), mirror, or `auto`: proximal where it is a formula."""

    auto = "auto"
    prox = "prox"
    mirror = "mirror"


class Sweep(StrEnum):
    """Whether a block is updated from the old (jacobi) or the new values of the blocks before it."""

    jacobi = "jacobi"
    gauss_seidel = "gauss_seidel"


class Explicit(StrEnum):
    """The group of variables that takes a single explicit step."""

    parameters = "parameters"
    auxiliary = "auxiliary"


class Acceleration(StrEnum):
    """Inertia of deterministic proximal gradient descent."""

    none = "none"
    nesterov = "nesterov"
    heavy_ball = "heavy_ball"


class Blocks(StrEnum):
    """Blocks of auxiliary variables: odd and even layers (36), or one layer each (35)."""

    odd_even = "odd_even"
    each = "each"


class Inner(StrEnum):
    """The iteration that minimises over a block: proximal gradient steps or ADMM."""

    gradient = "gradient"
    admm = "admm"


class Reduction(StrEnum):
    """Whether back-propagation's loss is the mean or the sum over the batch."""

    mean = "mean"
    sum = "sum"
