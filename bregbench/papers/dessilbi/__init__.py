"""The DessiLBI paper on the bench: its method, its phases and its networks for CIFAR-10."""

from bregbench.methods import MethodConfig
from bregbench.models import ModelConfig
from bregbench.papers.dessilbi.method import Dessilbi
from bregbench.papers.dessilbi.phases import Grow, RandomPruning, SupportPruning
from bregbench.papers.dessilbi.resnet_cifar import ResnetCifar, Shortcut
from bregbench.phases.base import TransformConfig

METHODS: tuple[type[MethodConfig], ...] = (Dessilbi,)
MODELS: tuple[type[ModelConfig], ...] = (ResnetCifar,)
TRANSFORMS: tuple[type[TransformConfig], ...] = (SupportPruning, RandomPruning, Grow)

__all__ = [
    "METHODS",
    "MODELS",
    "TRANSFORMS",
    "Dessilbi",
    "Grow",
    "RandomPruning",
    "ResnetCifar",
    "Shortcut",
    "SupportPruning",
]
