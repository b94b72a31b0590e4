"""Densities of a network: shares of weights that are not zero.

Density is the share of non-zero entries (N in the Bregman paper, "sparsity" in DessiLBI). Zero means
exactly zero. Each function moves one small tensor to the host. A weight that several layers share counts
once, and a complex entry counts as one.
"""

from __future__ import annotations

import torch
from torch import nn

from bregbench.measures.layers import distinct_weights, units
from bregman.modules import uncompiled


@torch.no_grad()
def density(model: nn.Module) -> dict[str, float]:
    """Densities of a network, as fractions.

    Returns:
        ``density/total``: non-zeros over entries of all Linear and convolution weights; biases and
        normalisation parameters do not count. ``density/linear``: non-zeros over entries of Linear
        weights. ``density/conv_kernels``: share of (output, input) kernels with a non-zero entry, over
        all convolutions, including 1 x 1 convolutions. ``density/parameters``: non-zeros over entries of
        all parameters. A key is absent if the network has no such weights.
    """
    counts: dict[str, list[torch.Tensor]] = {}
    sizes: dict[str, int] = {}

    def count(key: str, nonzero: torch.Tensor) -> None:
        counts.setdefault(key, []).append(nonzero.count_nonzero())
        sizes[key] = sizes.get(key, 0) + nonzero.numel()

    for layer in distinct_weights(model).values():
        nonzero = layer.weight != 0
        count("density/total", nonzero)
        if isinstance(layer, nn.Linear):
            count("density/linear", nonzero)
        else:
            count("density/conv_kernels", nonzero.flatten(2).any(dim=2))
    for parameter in uncompiled(model).parameters():
        count("density/parameters", parameter != 0)
    totals = to_host({key: torch.stack(parts).sum() for key, parts in counts.items()})
    return {key: totals[key] / size for key, size in sizes.items() if size > 0}


@torch.no_grad()
def layer_density(model: nn.Module) -> dict[str, float]:
    """Density of the weight of each Linear and convolution layer, by the layer's name."""
    layers = distinct_weights(model)
    layers = {name: layer for name, layer in layers.items() if layer.weight.numel() > 0}
    counts = to_host({name: layer.weight.count_nonzero() for name, layer in layers.items()})
    return {name: counts[name] / layer.weight.numel() for name, layer in layers.items()}


@torch.no_grad()
def layer_densities(model: nn.Module) -> dict[str, float]:
    """``layer_density/<layer>``, and ``layer_density/convolutions`` over all convolution weights."""
    found = {f"layer_density/{name}": share for name, share in layer_density(model).items()}
    weights = [x.weight for x in distinct_weights(model).values() if not isinstance(x, nn.Linear)]
    entries = sum(weight.numel() for weight in weights)
    if entries:
        counts = torch.stack([weight.count_nonzero() for weight in weights])
        found["layer_density/convolutions"] = int(counts.sum()) / entries
    return found


@torch.no_grad()
def active_units(model: nn.Module) -> dict[str, float]:
    """``active_units/<layer>``: share of a layer's outputs that have a non-zero weight.

    Outputs are the rows of a Linear weight and the filters of a convolution.
    """
    rows = {name: units(layer) for name, layer in distinct_weights(model).items()}
    rows = {name: matrix for name, matrix in rows.items() if matrix.numel() > 0}
    counts = to_host({n: (matrix != 0).any(dim=1).sum() for n, matrix in rows.items()})
    return {f"active_units/{name}": counts[name] / len(matrix) for name, matrix in rows.items()}


@torch.no_grad()
def l1_norm(model: nn.Module) -> float:
    """Sum of the absolute values (moduli, if complex) of all Linear and convolution weights."""
    norms = {
        name: layer.weight.abs().sum(dtype=torch.float64)
        for name, layer in distinct_weights(model).items()
    }
    return float(sum(to_host(norms).values()))


def to_host(values: dict[str, torch.Tensor]) -> dict[str, float]:
    """Read many scalars from the device with a single transfer."""
    if not values:
        return {}
    numbers = torch.stack(list(values.values())).tolist()
    return dict(zip(values, numbers, strict=True))
