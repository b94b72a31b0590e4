"""The Bregman paper on the bench: LinBreg, AdaBreg and proximal gradients."""

from bregbench.papers.bregman.methods import AdaBreg, LinBreg, ProxSgd

__all__ = ["AdaBreg", "LinBreg", "ProxSgd"]
