"""Training methods: configs that build them, and what they have in common."""

from bregbench.methods.base import Method, MethodConfig, Step
from bregbench.methods.optimizers import METHODS

__all__ = ["METHODS", "Method", "MethodConfig", "Step"]
