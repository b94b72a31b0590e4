"""Loading the state of a shrunk network into the architecture that it came from."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd

from bregman.layers import WEIGHT_LAYERS
from bregman.modules import make_safe
from dessilbi.branches import replace_removed, writes_into
from dessilbi.nodes import Nothing, called_layer, is_addition, is_pointwise
from dessilbi.probing import trace
from dessilbi.resizing import NORM_TENSORS, output_axis, resize


def load_shrunk(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Make a network as small as a saved one and load its state, in place.

    The state is a dictionary of plain tensors, such as `torch.save(shrink(model).state_dict(), path)`
    writes. Layers that are missing or smaller in the state are removed or made smaller, and layers get
    the biases that `compact` gave them. Take layers that `bypass_layer` has removed out of the fresh
    network before, because the state does not distinguish them from removed branches.

    Args:
        model: The full network, freshly built. A call that raises an error does not change it.
        state: State dict of its shrunk copy.

    Raises:
        RuntimeError: The state is not that of a shrunk copy of this network.
        ValueError: Layers are missing in the state and the network cannot be traced, or layers
            compute their weights.
    """
    _adapt(tried := copy.deepcopy(model), state)
    tried.load_state_dict(state)
    _adapt(model, state)
    model.load_state_dict(state)


def _adapt(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Make a network as small as a state, in place."""
    own = model.state_dict()
    strange = [key for key in state if key not in own and not _is_new_bias(model, key)]
    if strange:
        raise RuntimeError(
            f"the state is not that of a shrunk copy of this network, which has no {strange[0]!r} "
            f"({len(strange)} unknown names)"
        )
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, (*WEIGHT_LAYERS, _BatchNorm)) and layer.state_dict()
    }
    gone = {name for name, layer in layers.items() if _is_missing(name, layer, state)}
    if gone:
        _remove(model, gone)
    for name, layer in layers.items():
        make_safe(layer)
        if name not in gone:
            _check_sizes(name, layer, state)
        for tensor in ("weight", "bias") if isinstance(layer, WEIGHT_LAYERS) else NORM_TENSORS:
            saved = state.get(f"{name}.{tensor}")
            if saved is not None and isinstance(getattr(layer, tensor), Tensor):
                resize(layer, tensor, saved.shape)
        bias = state.get(f"{name}.bias")
        if bias is not None and isinstance(layer, WEIGHT_LAYERS) and layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.new_zeros(bias.shape))  # pyright: ignore[reportCallIssue]


def _check_sizes(name: str, layer: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raise RuntimeError if the saved tensors of a layer have shapes that do not fit together."""
    weight = state.get(f"{name}.weight")
    if isinstance(layer, WEIGHT_LAYERS):
        own: Tensor = layer.weight  # pyright: ignore[reportAssignmentType]
        fits = weight is None or (
            weight.dim() == own.dim() and weight.shape[2:] == own.shape[2:] and weight.numel() > 0
        )
        outputs = None if weight is None or not fits else weight.shape[output_axis(layer)]
        if outputs is not None and isinstance(layer, _ConvTransposeNd):
            outputs *= layer.groups
        tensors = ("bias",)
    else:
        fits, outputs, tensors = True, None, NORM_TENSORS
    sizes = {tuple(state[key].shape) for t in tensors if (key := f"{name}.{t}") in state}
    if outputs is not None:
        sizes.add((outputs,))
    if not fits or len(sizes) > 1:
        raise RuntimeError(
            f"the state is not that of a shrunk copy of this network: the tensors of {name!r} do "
            "not fit together"
        )


def _is_new_bias(model: nn.Module, key: str) -> bool:
    """Whether a key is the bias of a layer that has none yet."""
    owner, _, tensor = key.rpartition(".")
    layer = dict(model.named_modules()).get(owner)
    return tensor == "bias" and isinstance(layer, WEIGHT_LAYERS) and layer.bias is None


def _is_missing(name: str, layer: nn.Module, state: Mapping[str, Tensor]) -> bool:
    prefix = f"{name}." if name else ""
    return not any(prefix + key in state for key in layer.state_dict())


def _remove(model: nn.Module, gone: set[str]) -> None:
    nodes = trace(model)
    called = {str(node.target): node for node in nodes if node.op == "call_module"}
    for name in sorted(gone):
        if name not in called:
            raise RuntimeError(f"the state lacks layer {name!r}, which the network does not call")
        whole = _ends_written(model, called[name], gone)
        replace_removed(model, [name], whole=whole)
    # A norm layer without tensors is in no state; it is removed if its input is removed.
    for node in nodes:
        if isinstance(called_layer(model, node), _BatchNorm) and _reads_nothing(model, node):
            model.set_submodule(str(node.target), nn.Identity())


def _ends_written(model: nn.Module, node: fx.Node, gone: set[str]) -> bool:
    """Whether the addition behind a removed branch writes into the branch.

    Raises:
        RuntimeError: No shortcut passes the layer by, so that it could not have been removed.
    """
    last = node
    while len(last.users) == 1:
        (user,) = last.users
        if is_addition(user):
            return writes_into(user, last)
        layer = called_layer(model, user)
        passes = isinstance(layer, (_BatchNorm, nn.Identity, Nothing))
        if not passes and str(user.target) not in gone and not is_pointwise(layer, user):
            break
        last = user
    raise RuntimeError(
        f"the state lacks layer {node.target!r}, which no shortcut passes by: the state is not that of "
        "a shrunk copy of this network (take layers of a chain out with bypass_layer before)"
    )


def _reads_nothing(model: nn.Module, node: fx.Node) -> bool:
    while len(node.all_input_nodes) == 1:
        (node,) = node.all_input_nodes
        layer = called_layer(model, node)
        if isinstance(layer, Nothing):
            return True
        if not is_pointwise(layer, node):
            return False
    return False
