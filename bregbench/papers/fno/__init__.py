"""The FNO paper on the bench: networks for images of any size, and their accuracy over image sizes."""

from bregbench.papers.fno.evaluators import Conversion, Resolution
from bregbench.papers.fno.models import CnnCircular, Fno, SpectralResnet18

__all__ = [
    "CnnCircular",
    "Conversion",
    "Fno",
    "Resolution",
    "SpectralResnet18",
]
