"""The layers whose weights the papers count, and the units of a weight tensor."""

from __future__ import annotations

import torch
from torch import nn

from bregman.modules import uncompiled
from fno import SpectralConv2d

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

Convolution = (
    nn.Conv1d
    | nn.Conv2d
    | nn.Conv3d
    | nn.ConvTranspose1d
    | nn.ConvTranspose2d
    | nn.ConvTranspose3d
    | SpectralConv2d
)
WeightLayer = nn.Linear | Convolution


def weight_layers(model: nn.Module) -> dict[str, WeightLayer]:
    """Linear, convolution and spectral layers by name, in the order of the model.

    A layer with several names appears once, under its first name. For a compiled model, names are those
    of the original model.
    """
    kinds = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED, SpectralConv2d)
    return {name: m for name, m in uncompiled(model).named_modules() if isinstance(m, kinds)}


def distinct_weights(model: nn.Module) -> dict[str, WeightLayer]:
    """Like `weight_layers`, leaving out layers that share the weight of an earlier one."""
    # The dictionary keeps the tensors: a parametrised weight is computed at each access, and Python may
    # give the id of a freed tensor to a new one.
    seen: dict[int, torch.Tensor] = {}
    layers = {}
    for name, layer in weight_layers(model).items():
        weight = layer.weight
        if id(weight) not in seen:
            seen[id(weight)] = weight
            layers[name] = layer
    return layers


def units(layer: WeightLayer) -> torch.Tensor:
    """Weights arranged as ``(units, weights of a unit)``.

    A unit is a row of a Linear weight (one output) or a filter of a convolution (one channel).
    """
    weight = layer.weight
    if isinstance(layer, TRANSPOSED):
        # (inputs, outputs / groups, ...): the outputs of each group see that group's inputs only.
        grouped = weight.reshape(layer.groups, -1, weight.shape[1], *weight.shape[2:])
        return grouped.transpose(1, 2).reshape(layer.out_channels, -1)
    return weight.reshape(len(weight), -1)
