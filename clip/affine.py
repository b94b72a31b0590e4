"""Bounds of fully connected layers, normalisation layers and layers that only move entries."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from clip.composition import Bound, BoundOf, Rule, Shape, chain
from clip.evaluation import check_batch, output_shape
from clip.spectral import as_double, spectral_norm


def _linear(module: Any, shape: Shape, _: BoundOf) -> Bound:
    """The spectral norm; a layer on the last of several axes acts on each vector alike."""
    result = output_shape(module, shape)
    return Bound(spectral_norm(module.weight), result)


def _batch_norm(module: Any, shape: Shape, _: BoundOf) -> Bound:
    """Evaluation mode: each channel is scaled by gamma / sqrt(running variance + eps)."""
    if module.running_var is None:
        raise ValueError(
            "normalises with statistics of the batch, so one image's output depends on the other images: "
            "use track_running_stats=True"
        )
    scale = (as_double(module.running_var) + module.eps).rsqrt()
    if module.weight is not None:
        scale = scale * as_double(module.weight).abs()
    return Bound(float(scale.max()), shape)


def _layer_norm(module: Any, shape: Shape, _: BoundOf) -> Bound:
    """The bound max |gamma| / sqrt(eps), attained at constant inputs and therefore large.

    With z = (x - mean) / s, s^2 = variance + eps and P the projection onto mean zero, the Jacobian
    before gamma is (P - z z^T / n) / s, which lies between 0 and P / s since |z|^2 <= n.
    """
    largest = 1.0 if module.weight is None else float(as_double(module.weight).abs().max())
    if module.eps <= 0:
        raise ValueError(f"eps={module.eps} gives no bound: it must be positive")
    return Bound(largest / math.sqrt(module.eps), shape)


def _sequential(module: Any, shape: Shape, bound: BoundOf) -> Bound:
    return chain(module, shape, bound)


def _rearrangement(module: nn.Module, shape: Shape, _: BoundOf) -> Bound:
    """Every entry keeps its value and none is repeated: an isometry."""
    check_batch(module, shape)
    return Bound(1.0, output_shape(module, shape))


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _layer_norm,
    nn.Sequential: _sequential,
    nn.Flatten: _rearrangement,
    nn.Unflatten: _rearrangement,
    nn.PixelShuffle: _rearrangement,
    nn.PixelUnshuffle: _rearrangement,
    nn.ZeroPad1d: _rearrangement,
    nn.ZeroPad2d: _rearrangement,
    nn.ZeroPad3d: _rearrangement,
}
