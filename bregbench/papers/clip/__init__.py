"""The CLIP paper on the bench: robust objectives, attacks and pairs, and the function of its Figure 2."""

from bregbench.data import DatasetConfig
from bregbench.evaluators import EvaluatorConfig
from bregbench.objectives import ObjectiveConfig
from bregbench.papers.clip.evaluators import (
    Curve,
    PaperRobustness,
    Robustness,
    StrongRobustness,
    WorstPairs,
)
from bregbench.papers.clip.gap_function import GapFunction
from bregbench.papers.clip.objectives import Adversarial, Clip, ProductNorm, WeightPenalty

DATASETS: tuple[type[DatasetConfig], ...] = (GapFunction,)
EVALUATORS: tuple[type[EvaluatorConfig], ...] = (
    *(Robustness, PaperRobustness, StrongRobustness),
    *(Curve, WorstPairs),
)
OBJECTIVES: tuple[type[ObjectiveConfig], ...] = (Clip, WeightPenalty, ProductNorm, Adversarial)

__all__ = [
    "DATASETS",
    "EVALUATORS",
    "OBJECTIVES",
    "Adversarial",
    "Clip",
    "Curve",
    "GapFunction",
    "PaperRobustness",
    "ProductNorm",
    "Robustness",
    "StrongRobustness",
    "WeightPenalty",
    "WorstPairs",
]
