"""Units without weights: how many there are, and which of them no gradient can ever reach.

A unit is a row of a Linear weight or a filter of a convolution. Without weights its output is a constant:
its bias, or the shift of the BatchNorm behind it. Where the ReLU that follows sees a constant that is not
positive, it passes no gradient to the unit's weights, nor to that bias or shift: the unit stays as it is.
"""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from bregbench.measures.density import to_host
from bregbench.measures.layers import WeightLayer, distinct_weights, units
from bregman.modules import uncompiled
from dessilbi.probing import traced

_RELU_CALLS = (torch.relu, functional.relu, "relu", "relu_")
#: what keeps the sign of a channel that is constant
_KEEPS_SIGN = (
    *(nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout2d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)


@torch.no_grad()
def dead_units(model: nn.Module) -> dict[str, float]:
    """``units/dead`` and ``units/unreachable``, shares of the units of all layers.

    Returns:
        ``units/dead``: units without a weight that is not zero. ``units/unreachable``: dead units whose
        gradient is zero whatever the inputs. The latter is a lower bound: units are counted whose way to
        a ReLU leads through BatchNorm and pooling alone, which is read from the network's graph. It is
        absent where there is something to ask and the network cannot be traced; both are absent where there
        are no units.
    """
    empty = _empty_units(model)
    total = sum(len(mask) for mask in empty.values())
    if not total:
        return {}
    dead = sum(to_host({name: mask.sum() for name, mask in empty.items()}).values())
    found = {"units/dead": dead / total}
    if not dead:
        return found | {"units/unreachable": 0.0}
    unreachable = unreachable_units(model)
    if unreachable is None:
        return found
    return found | {"units/unreachable": sum(unreachable.values()) / total}


@torch.no_grad()
def unreachable_units(model: nn.Module) -> dict[str, int] | None:
    """How many units of each layer have no weights and can never get one; None if it cannot be told.

    The network is read in training mode, where BatchNorm makes its shift of a constant.
    """
    model = uncompiled(model)
    try:
        graph = traced(model).graph
    except ValueError:
        return None
    layers = distinct_weights(model)
    masks = _empty_units(model)
    calls = [node for node in graph.nodes if node.op == "call_module"]
    counts: dict[str, torch.Tensor] = {}
    for name in masks:
        own = [node for node in calls if node.target == name]
        if len(own) == 1:
            value = _before_relu(model, own[0], _bias(layers[name], like=masks[name]))
            if value is not None:
                counts[name] = (masks[name] & (value <= 0)).sum()
    return {name: int(count) for name, count in to_host(counts).items() if count}


def note_on_unreachable(model: nn.Module) -> str | None:
    """One line for the user where units can never enter, with the remedies; else None."""
    found = unreachable_units(model)
    if not found:
        return None
    sizes = {name: len(units(layer)) for name, layer in distinct_weights(model).items()}
    worst = sorted(found, key=lambda name: -found[name])[:3]
    most = ", ".join(f"{found[name]} of {sizes[name]} of {name}" for name in worst)
    return (
        f"{sum(found.values())} of {sum(sizes.values())} units can never enter: they have no weights, and "
        f"the ReLU behind them passes no gradient ({most}); method.start.balanced=true leaves no unit "
        "without weights, method.start.biases=positive and method.start.shifts=0.1 let a gradient through"
    )


def _empty_units(model: nn.Module) -> dict[str, torch.Tensor]:
    """Which units of each layer have no weights, bool ``(units,)``."""
    rows = {name: units(layer) for name, layer in distinct_weights(model).items()}
    return {name: (matrix == 0).all(dim=1) for name, matrix in rows.items() if matrix.numel()}


def _bias(layer: WeightLayer, *, like: torch.Tensor) -> torch.Tensor:
    bias = getattr(layer, "bias", None)
    return bias if isinstance(bias, torch.Tensor) else torch.zeros(len(like), device=like.device)


def _before_relu(model: nn.Module, node: fx.Node, value: torch.Tensor) -> torch.Tensor | None:
    """The constants of a layer's units as a ReLU behind it sees them; None where no ReLU decides."""
    while len(node.users) == 1:
        (node,) = node.users
        if node.op != "call_module":
            return value if node.target in _RELU_CALLS else None
        module = model.get_submodule(str(node.target))
        if isinstance(module, nn.ReLU):
            return value
        if isinstance(module, _BatchNorm):
            value = module.bias if module.affine else torch.zeros_like(value)
        elif not isinstance(module, _KEEPS_SIGN):
            return None
    return None
