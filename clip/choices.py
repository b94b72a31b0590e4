"""The words that settings of this package may have; a member equals its word, so either is taken."""

from __future__ import annotations

from enum import StrEnum


class Adapt(StrEnum):
    """Which steps of an ascent adapt: none, each pair's own, or one common to all."""

    none = "none"
    pair = "pair"
    all = "global"


class Norm(StrEnum):
    """Norm of a perturbation of one image."""

    l2 = "l2"
    linf = "linf"


class StepRule(StrEnum):
    """Where a step goes: along the signs of the gradient, or along the gradient itself."""

    sign = "sign"
    gradient = "gradient"


class Scale(StrEnum):
    """How a weight changes: by adding and subtracting, or by multiplying and dividing."""

    additive = "additive"
    multiplicative = "multiplicative"


class Reduction(StrEnum):
    """Which pairs are penalised: the one with the largest quotient, or all alike."""

    best = "best"
    mean = "mean"


class Loss(StrEnum):
    """What an attack ascends: see `clip.attacks.pgd`; `dlr` is `clip.losses.difference_of_logits_ratio`."""

    cross_entropy = "cross_entropy"
    margin = "margin"
    dlr = "dlr"


class NoiseKind(StrEnum):
    """Noise between the points of a pair, by entry: N(0, r^2), U(-r, r), or the published U(0, r)."""

    normal = "normal"
    uniform = "uniform"
    one_sided = "one_sided"
