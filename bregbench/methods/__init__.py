"""Training methods of torch and what every method has in common; those of the papers live in `papers`."""

from bregbench.methods.base import Method, MethodConfig, Step
from bregbench.methods.torch_optimizers import Adagrad, Adam, Radam, Sgd

METHODS: tuple[type[MethodConfig], ...] = (Sgd, Adam, Adagrad, Radam)

__all__ = ["METHODS", "Adagrad", "Adam", "Method", "MethodConfig", "Radam", "Sgd", "Step"]
