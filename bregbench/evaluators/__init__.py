"""Measurements of finished networks; the evaluators of the papers live in `papers`."""

from bregbench.evaluators.base import EvaluatorConfig
from bregbench.evaluators.compaction import Compaction
from bregbench.evaluators.lipschitz import Lipschitz
from bregbench.evaluators.pictures import FeatureMaps, Reconstruction
from bregbench.evaluators.standard import Accuracy, Cost, Density, Structure

__all__ = [
    "Accuracy",
    "Compaction",
    "Cost",
    "Density",
    "EvaluatorConfig",
    "FeatureMaps",
    "Lipschitz",
    "Reconstruction",
    "Structure",
]
