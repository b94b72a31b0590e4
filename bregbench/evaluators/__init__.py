"""Evaluators: measurements of finished networks."""

from bregbench.evaluators.base import EvaluatorConfig
from bregbench.evaluators.robust import Lipschitz, Robustness
from bregbench.evaluators.standard import Accuracy, Cost, Density

EVALUATORS: tuple[type[EvaluatorConfig], ...] = (Accuracy, Density, Cost, Lipschitz, Robustness)

__all__ = [
    "EVALUATORS",
    "Accuracy",
    "Cost",
    "Density",
    "EvaluatorConfig",
    "Lipschitz",
    "Robustness",
]
