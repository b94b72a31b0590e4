"""The CLIP paper on the bench: robust objectives, attacks and pairs, and the function of its Figure 2."""

from bregbench.papers.clip.evaluators import PaperRobustness, Robustness, StrongRobustness
from bregbench.papers.clip.gap_function import GapFunction
from bregbench.papers.clip.objectives import Adversarial, Clip, ProductNorm, WeightPenalty
from bregbench.papers.clip.steepness import Curve, WorstPairs

__all__ = [
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
