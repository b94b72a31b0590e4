"""The DessiLBI paper on the bench: its method, its phases and its networks for CIFAR-10."""

from bregbench.papers.dessilbi.method import Dessilbi
from bregbench.papers.dessilbi.phases import Grow, RandomPruning, SupportPruning
from bregbench.papers.dessilbi.resnet_cifar import ResnetCifar, Shortcut

__all__ = [
    "Dessilbi",
    "Grow",
    "RandomPruning",
    "ResnetCifar",
    "Shortcut",
    "SupportPruning",
]
