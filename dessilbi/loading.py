"""Loading the state of a shrunk network into the architecture that it came from."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bregman.layers import WEIGHT_LAYERS
from bregman.modules import make_safe
from dessilbi.branches import replace_removed
from dessilbi.resizing import NORM_TENSORS, resize


def load_shrunk(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Make a network as small as a saved one and load its state, in place.

    Saved are plain tensors, `torch.save(shrink(model).state_dict(), path)`: what is missing or
    smaller there is removed here. Layers taken out with `bypass_layer` have to be taken out of the
    fresh network by hand, because nothing in the state tells them from removed branches.

    Args:
        model: The full network, freshly built.
        state: State dict of its shrunk copy.

    Raises:
        RuntimeError: The state is not that of a shrunk copy of this network.
    """
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, (*WEIGHT_LAYERS, _BatchNorm))
    }
    gone = [name for name in layers if not any(key.startswith(f"{name}.") for key in state)]
    replace_removed(model, gone)
    for name, layer in layers.items():
        make_safe(layer)
        for tensor in ("weight", "bias") if isinstance(layer, WEIGHT_LAYERS) else NORM_TENSORS:
            saved = state.get(f"{name}.{tensor}")
            if saved is not None and isinstance(getattr(layer, tensor), Tensor):
                resize(layer, tensor, saved.shape)
    model.load_state_dict(state)
