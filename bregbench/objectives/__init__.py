"""Objectives: what is differentiated in a step of back-propagation."""

from bregbench.objectives.base import Evaluated, Objective, ObjectiveConfig
from bregbench.objectives.lipschitz import Adversarial, Clip, ProductNorm, WeightPenalty
from bregbench.objectives.losses import Lasso, Plain

OBJECTIVES: tuple[type[ObjectiveConfig], ...] = (
    Plain,
    Lasso,
    Clip,
    WeightPenalty,
    ProductNorm,
    Adversarial,
)

__all__ = [
    "OBJECTIVES",
    "Adversarial",
    "Clip",
    "Evaluated",
    "Lasso",
    "Objective",
    "ObjectiveConfig",
    "Plain",
    "ProductNorm",
    "WeightPenalty",
]
