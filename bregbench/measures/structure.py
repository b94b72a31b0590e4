"""The structure of a network: layers, their outputs, the sides of their images, and the cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from bregbench.measures.cost import count_macs, count_parameters
from bregbench.measures.layers import WeightLayer, weight_layers
from bregman.modules import evaluating


@dataclass(frozen=True)
class Structure:
    """The structure of a network.

    Attributes:
        widths: outputs (rows, filters) of each Linear and convolution layer, by name.
        sides: height of the output images of each convolution, by name.
        macs: multiply-accumulate operations of one forward pass of one image.
        parameters: number of all parameters.
    """

    widths: dict[str, int]
    sides: dict[str, int]
    macs: int
    parameters: int


@torch.no_grad()
def structure_of(network: nn.Module, input_shape: tuple[int, int, int]) -> Structure:
    """The structure of a network, from a forward pass of one black image; the network does not change.

    Args:
        network: the network, on any device.
        input_shape: channels, height and width of one image.
    """
    layers = weight_layers(network)
    sides: dict[str, int] = {}

    names = {layer: name for name, layer in layers.items()}

    def hook(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        if output.dim() == 4:
            sides[names[layer]] = output.shape[2]  # type: ignore[index]

    handles = [layer.register_forward_hook(hook) for layer in layers.values()]
    try:
        with evaluating(network):
            macs = count_macs(network, input_shape).dense
    finally:
        for handle in handles:
            handle.remove()
    widths = {name: _outputs(layer) for name, layer in layers.items()}
    return Structure(widths, sides, macs, count_parameters(network))


def _outputs(layer: WeightLayer) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
