"""Training methods: configs that build them, and what they have in common."""

from bregbench.methods import optimizers
from bregbench.methods.adaptive import Adagrad, Radam
from bregbench.methods.base import Method, MethodConfig, Step
from bregbench.methods.dessilbi import Dessilbi
from bregbench.methods.lifted import Lifted

METHODS: tuple[type[MethodConfig], ...] = (
    *optimizers.METHODS,
    Lifted,
    *(Adagrad, Radam),
    Dessilbi,
)

__all__ = ["METHODS", "Method", "MethodConfig", "Step"]
