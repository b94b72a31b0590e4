"""The FNO paper on the bench: networks for images of any size, and their accuracy over it."""

from bregbench.evaluators import EvaluatorConfig
from bregbench.models import ModelConfig
from bregbench.papers.fno.evaluators import Conversion, Resolution
from bregbench.papers.fno.models import CnnCircular, Fno, SpectralResnet18

EVALUATORS: tuple[type[EvaluatorConfig], ...] = (Resolution, Conversion)
MODELS: tuple[type[ModelConfig], ...] = (CnnCircular, Fno, SpectralResnet18)

__all__ = [
    "EVALUATORS",
    "MODELS",
    "CnnCircular",
    "Conversion",
    "Fno",
    "Resolution",
    "SpectralResnet18",
]
