"""The words that settings of this package may have; a member equals its word, so either is taken."""

from __future__ import annotations

from enum import StrEnum


class PenaltyName(StrEnum):
    """What ties a hidden output to the layer below: (13), (7) or (6) of the paper."""

    bregman = "bregman"
    classical = "classical"
    mac = "mac"


class RegulariserMode(StrEnum):
    """Where the l1 norm of a code acts: in the energy (26), (27), or in the iteration."""

    variational = "variational"
    iterative = "iterative"


class Convention(StrEnum):
    """What the paper's tau^k means: `lifted.paper_rho`."""

    sum = "sum"
    literal = "literal"
    reciprocal = "reciprocal"


class Order(StrEnum):
    """Order of an implicit step: Algorithm 1 as printed, sweeps, or all of X and then all of Theta."""

    layer = "layer"
    sweep = "sweep"
    alternating = "alternating"


class XStep(StrEnum):
    """Step in auxiliary variables: proximal (17b), mirror, or proximal where that is a formula."""

    auto = "auto"
    prox = "prox"
    mirror = "mirror"


class Sweep(StrEnum):
    """Whether blocks see each other's new values at once."""

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
    """What solves a block."""

    gradient = "gradient"
    admm = "admm"


class Reduction(StrEnum):
    """Whether back-propagation's loss is the mean or the sum over the batch."""

    mean = "mean"
    sum = "sum"
