"""The interface of methods, and torch's optimisers; the methods of the papers live in `papers`."""

from bregbench.methods.base import Method, MethodConfig, Step
from bregbench.methods.torch_optimizers import Adagrad, Adam, Radam, Sgd

__all__ = ["Adagrad", "Adam", "Method", "MethodConfig", "Radam", "Sgd", "Step"]
