"""Parameters, operations and kept fractions, in the convention of each of the paper's tables.

| where        | size                                                | operations                  |
|--------------|-----------------------------------------------------|-----------------------------|
| Table 2      | kept entries / all parameters, biases and norms too | -                           |
| Table 3      | kept entries / entries of the masked weights        | `macs`                      |
| Table 7      | kept entries / all parameters as built              | `macs`                      |
| Table 4      | `parameters`                                        | `counter_operations`        |
| Figures 3, 4 | kept entries / convolution weights                  | -                           |
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bregman.layers import WEIGHT_LAYERS, weight_layers
from bregman.masks import Masks
from dessilbi.resizing import output_axis


@dataclass(frozen=True, slots=True)
class Cost:
    """Size of a network and operations of one forward pass of one input.

    Attributes:
        parameters: Number of all parameters.
        macs: Multiply-accumulates of Linear and Conv layers, without biases.
        counter_operations: Number of operations as Table 4 counts them: macs, and for each output one
            operation for the bias of a convolution, two for a norm layer, one for a ReLU module.
    """

    parameters: int
    macs: int
    counter_operations: int


@torch.no_grad()
def network_cost(model: nn.Module, example: Tensor) -> Cost:
    """Count the operations of a network by a forward pass of one batch through a copy.

    Args:
        model: The network. Only layers that are called as modules count, once for every call.
        example: Input batch `(batch, ...)`; the counts are per input.
    """
    twin = copy.deepcopy(model).eval()
    counts = {"macs": 0, "extra": 0}

    def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if isinstance(layer, WEIGHT_LAYERS):
            side = (
                inputs[0] if output_axis(layer) else output
            )  # a transposed layer spreads each input
            weight: Tensor = layer.weight  # pyright: ignore[reportAssignmentType]
            counts["macs"] += side.numel() * weight[0].numel()
            if layer.bias is not None and not isinstance(layer, nn.Linear):
                counts["extra"] += output.numel()
        else:
            counts["extra"] += output.numel() * (1 if isinstance(layer, nn.ReLU) else 2)

    for layer in twin.modules():
        if isinstance(layer, (*WEIGHT_LAYERS, _BatchNorm, nn.ReLU)):
            layer.register_forward_hook(hook)
    twin(example)
    macs, extra = (counts[name] // len(example) for name in ("macs", "extra"))
    parameters = sum(param.numel() for param in model.parameters())
    return Cost(parameters=parameters, macs=macs, counter_operations=macs + extra)


def kept_fractions(model: nn.Module, masks: Masks) -> dict[str, float]:
    """The fraction of kept entries, with three denominators; parameters without a mask are kept.

    Args:
        model: The network that the masks belong to.
        masks: Masks of weights, keyed by parameter name.

    Returns:
        Fractions in [0, 1] by denominator: `masked` weights, all weights of `convolutions`, all
        `parameters`.
    """
    sizes = {name: param.numel() for name, param in model.named_parameters()}
    cut = {name: mask.numel() - int(mask.count_nonzero()) for name, mask in masks.items()}
    convolutions = [
        name for name, layer, _ in weight_layers(model) if not isinstance(layer, nn.Linear)
    ]
    over = {"masked": list(masks), "convolutions": convolutions, "parameters": list(sizes)}
    fractions = {}
    for label, names in over.items():
        total = sum(sizes[name] for name in names)
        removed = sum(cut.get(name, 0) for name in names)
        fractions[label] = 1.0 - removed / total if total else 1.0
    return fractions
