"""Objectives, which back-propagation differentiates; the objectives of the papers live in `papers`."""

from bregbench.objectives.base import Evaluated, Objective, ObjectiveConfig
from bregbench.objectives.losses import Lasso, Plain

__all__ = ["Evaluated", "Lasso", "Objective", "ObjectiveConfig", "Plain"]
