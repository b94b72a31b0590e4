"""The Bregman paper on the bench: LinBreg, AdaBreg and proximal gradients."""

from bregbench.methods import MethodConfig
from bregbench.papers.bregman.methods import AdaBreg, LinBreg, ProxSgd

METHODS: tuple[type[MethodConfig], ...] = (ProxSgd, LinBreg, AdaBreg)

__all__ = ["METHODS", "AdaBreg", "LinBreg", "ProxSgd"]
