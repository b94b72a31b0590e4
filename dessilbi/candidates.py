"""Guesses of the input shapes that a network accepts, from its layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

from torch import fx, nn

from bregman.layers import NORM_LAYERS, WEIGHT_LAYERS
from dessilbi.layouts import Shape
from dessilbi.nodes import called_layer

#: Samples of a made-up batch; few layers have 4 channels, so channels and samples are told apart.
BATCH = 4
#: Sides of images (False) and volumes (True): usual ones first, and those tried if no usual one fits.
_SIDES = {False: (32, 64, 28, 224, 16, 96), True: (16, 8, 32)}
_MORE_SIDES = {False: (*range(1, 65), 128, 299), True: tuple(range(1, 17))}


def candidate_shapes(model: nn.Module, nodes: list[fx.Node]) -> Iterator[Shape | None]:
    """Input shapes that the first layer could read; no shape if the network has several inputs.

    A None in the sequence means: try the shapes behind it only if no shape has been accepted so far.
    """
    if sum(node.op == "placeholder" and not node.args for node in nodes) != 1:
        return
    layers = [layer for node in nodes if (layer := called_layer(model, node)) is not None]
    first = next((layer for layer in layers if isinstance(layer, WEIGHT_LAYERS)), None)
    if first is None:
        return
    for node in nodes:  # a tensor that is added to an input, or divides it, has the input's shape
        if node.op == "get_attr":
            owner, _, name = str(node.target).rpartition(".")
            shape = getattr(model.get_submodule(owner), name).shape
            if math.prod(shape[1:]) > 1 and min(shape[1:]) > 1:
                yield (BATCH, *shape[1:])
    if isinstance(first, nn.Linear):
        yield from _features(first.in_features, layers)
    else:
        axes = len(first.kernel_size)  # pyright: ignore[reportArgumentType]
        for sides in (_SIDES, _MORE_SIDES):
            for side in sides[axes == 3]:
                yield (BATCH, first.in_channels, *[side] * axes)  # pyright: ignore[reportReturnType]
                if sides is _MORE_SIDES:
                    yield None
            yield None


def _features(count: int, layers: Sequence[nn.Module]) -> Iterator[Shape]:
    yield (BATCH, count)
    for channels in (1, 3, 2):
        side = math.isqrt(count // channels)
        if channels * side * side == count and side > 1:
            yield (BATCH, channels, side, side)
    tokens = sorted(_token_counts(layers))
    for number in (*tokens, 3, 5):
        yield (BATCH, number, count)
    for number, other in itertools.product((2, 3), repeat=2):
        yield (BATCH, number, other, count)
    for number in tokens:
        side = math.isqrt(number)
        if side * side == number:
            yield (BATCH, side, side, count)


def _token_counts(layers: Sequence[nn.Module]) -> set[int]:
    """Numbers of tokens that a later layer may need."""
    found: set[int] = set()
    outputs = {layer.out_features for layer in layers if isinstance(layer, nn.Linear)}
    for layer in layers:
        if _counts_features(layer):
            found.add(layer.num_features)
        elif isinstance(layer, nn.Linear):
            found |= {
                layer.in_features // width for width in outputs if layer.in_features % width == 0
            }
        elif isinstance(layer, WEIGHT_LAYERS):
            found.add(layer.in_channels)  # pyright: ignore[reportArgumentType]
    return {number for number in found if 1 < number <= 4096}


def _counts_features(layer: nn.Module) -> TypeGuard[Any]:
    return isinstance(layer, NORM_LAYERS) and hasattr(layer, "num_features")
