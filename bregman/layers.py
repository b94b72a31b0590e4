"""Linear and Conv layers, whose weights become sparse, and the groups of entries of these weights.

| `by`     | Linear weight `(out, in)` | Conv weight `(out, in, *k)`                  |
|----------|---------------------------|----------------------------------------------|
| `entry`  | single entries            | single entries                               |
| `kernel` | single entries            | one spatial kernel per (output, input) pair  |
| `filter` | rows                      | everything of one output channel             |
| `row`    | rows                      | everything of one output channel             |

A Linear layer has no kernels, so `kernel` means its single entries (the kernel of a 1x1 convolution
is a single entry, too). `filter` and `row` mean the same groups. Transposed convolutions store
`(in, out, *k)`; a filter is everything of one *output* channel in them, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrize import is_parametrized

WEIGHT_LAYERS = (nn.Linear, _ConvNd)
BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)
NORM_LAYERS = (
    nn.modules.batchnorm._NormBase,  # every BatchNorm and InstanceNorm
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


def weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """`(parameter name, layer, weight)` of every Linear and Conv layer, shared weights once.

    Computed weights (see `computed_weights`) are yielded with their present values. To change them has
    no effect, because the next call computes them again.
    """
    seen: dict[int, Tensor] = {}  # keeps the tensors: Python may give the id of a freed one away
    for name, module in model.named_modules():
        if not isinstance(module, WEIGHT_LAYERS):
            continue
        weight = module.weight
        if id(weight) not in seen:
            seen[id(weight)] = weight
            yield f"{name}.weight" if name else "weight", module, weight


def computed_weights(
    model: nn.Module,
    *,
    modules: tuple[type[nn.Module], ...] = (*WEIGHT_LAYERS, *NORM_LAYERS),
    tensors: tuple[str, ...] = ("weight", "bias"),
) -> list[str]:
    """Names of the weights, biases and norm scales that are computed at every call, in order.

    weight_norm, spectral_norm, orthogonal and prune of `torch.nn.utils`, in their parametrized and in
    their older forms, compute a weight from other parameters, so the weight is no parameter itself.
    """
    return [
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        if isinstance(module, modules)
        for name in tensors
        # Access to a parametrized weight would compute it, and spectral_norm counts each computation.
        if is_parametrized(module, name) or isinstance(module.__dict__.get(name), Tensor)
    ]


def check_plain_weights(
    model: nn.Module,
    *,
    modules: tuple[type[nn.Module], ...] = (*WEIGHT_LAYERS, *NORM_LAYERS),
    tensors: tuple[str, ...] = ("weight", "bias"),
) -> None:
    """Refuse models with computed weights, because the next call would overwrite a written value.

    Raises:
        ValueError: Weights are computed; the message names them.
    """
    computed = computed_weights(model, modules=modules, tensors=tensors)
    if computed:
        raise ValueError(
            f"{', '.join(map(repr, computed))} are computed from other parameters at every call "
            "(weight_norm, spectral_norm, orthogonal, prune), so nothing can be written into them: "
            "make them plain first, with torch.nn.utils.parametrize.remove_parametrizations or the "
            "remove function of what computes them"
        )


def layer_dims(module: nn.Module, by: str) -> tuple[int, ...]:
    """Axes of the layer's weight that form one group; empty when single entries are groups."""
    if by == "entry" or (by == "kernel" and isinstance(module, nn.Linear)):
        return ()
    axes = range(module.weight.dim())  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    output = 1 if isinstance(module, _ConvTransposeNd) else 0
    if by == "kernel":
        return tuple(axes[2:])
    return tuple(axis for axis in axes if axis != output)
