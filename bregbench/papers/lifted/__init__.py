"""The lifted Bregman paper on the bench: methods, their solvers, and measurements of codes and units."""

from bregbench.papers.lifted.evaluators import Codes, Units
from bregbench.papers.lifted.method import Lifted

__all__ = ["Codes", "Lifted", "Units"]
