"""Evaluators: measurements of finished networks."""

from bregbench.evaluators.base import EvaluatorConfig
from bregbench.evaluators.standard import EVALUATORS

__all__ = ["EVALUATORS", "EvaluatorConfig"]
