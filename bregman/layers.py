"""The layers that sparsity is about: Linear and Conv, and what a group of their weight is.

| `by`     | Linear weight `(out, in)` | Conv weight `(out, in, *k)`                  |
|----------|---------------------------|----------------------------------------------|
| `entry`  | single entries            | single entries                               |
| `kernel` | single entries            | one spatial kernel per (output, input) pair  |
| `filter` | rows                      | everything of one output channel             |
| `row`    | rows                      | everything of one output channel             |

A Linear layer has no kernels, so `kernel` means its entries there (a 1x1 kernel is an entry, too),
and a filter is to a Conv layer what a row is to a Linear one. Transposed convolutions store
`(in, out, *k)`; here too a filter is everything of one *output* channel.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

WEIGHT_LAYERS = (nn.Linear, _ConvNd)
NORM_LAYERS = (
    nn.modules.batchnorm._NormBase,  # every BatchNorm and InstanceNorm
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)
GROUPINGS = ("entry", "kernel", "filter", "row")


def weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """`(parameter name, layer, weight)` of every Linear and Conv layer, shared weights once."""
    seen: set[int] = set()
    for name, module in model.named_modules():
        if isinstance(module, WEIGHT_LAYERS) and id(module.weight) not in seen:
            seen.add(id(module.weight))
            yield f"{name}.weight" if name else "weight", module, module.weight


def layer_dims(module: nn.Module, by: str) -> tuple[int, ...]:
    """Axes of the layer's weight that form one group; empty when single entries are groups."""
    if by == "entry" or (by == "kernel" and isinstance(module, nn.Linear)):
        return ()
    axes = range(module.weight.dim())  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    output = 1 if isinstance(module, _ConvTransposeNd) else 0
    if by == "kernel":
        return tuple(axes[2:])
    return tuple(axis for axis in axes if axis != output)
