"""Evaluators: measurements of finished networks."""

from bregbench.evaluators.base import EvaluatorConfig
from bregbench.evaluators.codes import Codes
from bregbench.evaluators.compaction import Compaction
from bregbench.evaluators.curve import Curve
from bregbench.evaluators.pictures import FeatureMaps, Reconstruction
from bregbench.evaluators.resolution import Conversion, Resolution
from bregbench.evaluators.robust import Lipschitz, PaperRobustness, Robustness, StrongRobustness
from bregbench.evaluators.standard import Accuracy, Cost, Density, Structure
from bregbench.evaluators.units import Units
from bregbench.evaluators.worst_pairs import WorstPairs

EVALUATORS: tuple[type[EvaluatorConfig], ...] = (
    Accuracy,
    Density,
    Cost,
    Lipschitz,
    Robustness,
    PaperRobustness,
    StrongRobustness,
    Reconstruction,
    FeatureMaps,
    Curve,
    WorstPairs,
    Units,
    Resolution,
    Conversion,
    Structure,
    Codes,
    Compaction,
)

__all__ = [
    "EVALUATORS",
    "Accuracy",
    "Codes",
    "Compaction",
    "Conversion",
    "Cost",
    "Curve",
    "Density",
    "EvaluatorConfig",
    "FeatureMaps",
    "Lipschitz",
    "PaperRobustness",
    "Reconstruction",
    "Resolution",
    "Robustness",
    "StrongRobustness",
    "Structure",
    "Units",
    "WorstPairs",
]
