"""Evaluators: measurements of finished networks."""

from bregbench.evaluators.base import EvaluatorConfig
from bregbench.evaluators.pictures import FeatureMaps, Reconstruction
from bregbench.evaluators.robust import Lipschitz, Robustness
from bregbench.evaluators.standard import Accuracy, Cost, Density

EVALUATORS: tuple[type[EvaluatorConfig], ...] = (
    Accuracy,
    Density,
    Cost,
    Lipschitz,
    Robustness,
    Reconstruction,
    FeatureMaps,
)

__all__ = [
    "EVALUATORS",
    "Accuracy",
    "Cost",
    "Density",
    "EvaluatorConfig",
    "FeatureMaps",
    "Lipschitz",
    "Reconstruction",
    "Robustness",
]
