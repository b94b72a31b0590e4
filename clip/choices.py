"""Closed sets of words for settings of this package; a member equals its word, so both are accepted."""

from __future__ import annotations

from enum import StrEnum


class Adapt(StrEnum):
    """How step sizes of an ascent adapt: not at all, one for each pair, or one for all pairs."""

    none = "none"
    pair = "pair"
    all = "global"


class Norm(StrEnum):
    """Norm of a perturbation of one image."""

    l2 = "l2"
    linf = "linf"


class StepRule(StrEnum):
    """Direction of a step: the signs of the gradient, or the gradient itself."""

    sign = "sign"
    gradient = "gradient"


class Scale(StrEnum):
    """How a weight changes: by adding and subtracting, or by multiplying and dividing."""

    additive = "additive"
    multiplicative = "multiplicative"


class Reduction(StrEnum):
    """The penalised quotient: the largest one over the pairs, or their mean."""

    best = "best"
    mean = "mean"


class Loss(StrEnum):
    """Loss that an attack ascends, see `clip.attacks.pgd`; `dlr` is the difference-of-logits ratio."""

    cross_entropy = "cross_entropy"
    margin = "margin"
    dlr = "dlr"


class NoiseKind(StrEnum):
    """Noise between the points of a pair, by entry: N(0, r^2), U(-r, r), or the published U(0, r)."""

    normal = "normal"
    uniform = "uniform"
    one_sided = "one_sided"
