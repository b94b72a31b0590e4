"""Loading of weights into networks whose structure training has changed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from bregbench.foundations.errors import BenchError
from bregbench.measures.layers import weight_layers
from dessilbi import load_shrunk
from dessilbi.branches import bypass_layer
from dessilbi.nodes import PaddedShortcut
from dessilbi.selection import in_chain


def load_weights(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load a state; if its layers are smaller, larger or missing, the network is changed first.

    Args:
        network: the network, freshly built from the config of the state's run; it is changed in place.
        state: state dict of the trained network.

    Raises:
        BenchError: the state does not belong to a network with this config.
    """
    own = network.state_dict()
    same = own.keys() == state.keys() and all(own[key].shape == state[key].shape for key in own)
    try:
        if same:
            network.load_state_dict(state)
        else:
            _adapt(network, state)
    except (RuntimeError, ValueError) as error:
        raise BenchError(
            f"the saved weights do not fit the network ({str(error).splitlines()[0]}): they belong "
            "to another model"
        ) from error


def _adapt(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    for name in weight_layers(network):
        if f"{name}.weight" not in state and in_chain(network, name):
            bypass_layer(network, name)
    load_shrunk(network, state)
    for name, shortcut in network.named_modules():
        if isinstance(shortcut, PaddedShortcut):
            # The shortcut has no tensors: its width is that of the block's last convolution.
            shortcut.outputs = _branch_width(network, name)


def _branch_width(network: nn.Module, shortcut: str) -> int:
    """Number of channels of the branch that is added to a padded shortcut."""
    block = network.get_submodule(shortcut.rpartition(".")[0])
    branch = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
    old: PaddedShortcut = network.get_submodule(shortcut)  # type: ignore[assignment]
    return branch[-1].out_channels if branch else old.outputs
