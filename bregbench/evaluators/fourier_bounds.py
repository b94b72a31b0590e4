"""Lipschitz bounds of Fourier layers: `clip` and `fno` know nothing of each other, the bench knows both."""

from __future__ import annotations

from torch import nn

from clip import Bound, register_rule
from clip.composition import BoundOf, Shape
from fno import CircularConv2d, SpectralConv2d, TrigonometricResize
from fno.lipschitz import lipschitz_constant
from fno.pooling import AdaptiveAveragePool2d


def _layer(module: nn.Module, shape: Shape, bound: BoundOf) -> Bound:
    """Exact without stride and GELU, see `fno.lipschitz`."""
    return Bound(*lipschitz_constant(module, shape))


def _pooling(module: nn.Module, shape: Shape, bound: BoundOf) -> Bound:
    """Other memory, same values."""
    assert isinstance(module, AdaptiveAveragePool2d)
    return bound(nn.AdaptiveAvgPool2d(module.output_size), shape)


def register_fourier_rules() -> None:
    """Give `clip.upper_bound` the layers of `fno`."""
    for kind in (SpectralConv2d, CircularConv2d, TrigonometricResize):
        register_rule(kind, _layer)
    register_rule(AdaptiveAveragePool2d, _pooling)
