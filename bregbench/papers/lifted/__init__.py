"""The lifted Bregman paper on the bench: methods, their solvers, and measurements of codes and units."""

from bregbench.evaluators import EvaluatorConfig
from bregbench.methods import MethodConfig
from bregbench.papers.lifted.evaluators import Codes, Units
from bregbench.papers.lifted.method import Lifted
from bregbench.papers.lifted.solvers import SOLVERS

EVALUATORS: tuple[type[EvaluatorConfig], ...] = (Units, Codes)
METHODS: tuple[type[MethodConfig], ...] = (Lifted,)

__all__ = ["EVALUATORS", "METHODS", "SOLVERS", "Codes", "Lifted", "Units"]
