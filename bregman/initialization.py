"""Initialisation of sparse networks: He weights, sparse masks, biases that keep dead neurons apart.

Source: Bungert, Roith, Tenbrinck, Burger (2022), section 4.1. Norm layers are left alone.
All randomness comes from the generator (on CPU or on the device of the weights), or from torch's
global one.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from bregman.choices import BiasScheme, Grouping
from bregman.layers import (
    BATCH_NORMS,
    WEIGHT_LAYERS,
    check_plain_weights,
    layer_dims,
    weight_layers,
)
from bregman.validation import check_choice, check_density, check_non_negative, check_positive


@torch.no_grad()
def he_normal(model: nn.Module, *, generator: Generator | None = None) -> None:
    """Draw Linear and Conv weights from N(0, 2 / fan_in), in place (eq. 4.1 with He's alpha).

    fan_in is the number of products that an output adds up, so that inputs of mean square 1 give
    outputs of mean square 2. A transposed convolution adds up `in / groups * prod(kernel) /
    prod(stride)` of them, on average over the output positions.

    Raises:
        ValueError: Weights are computed from other parameters; nothing is changed.
    """
    check_plain_weights(model, modules=WEIGHT_LAYERS, tensors=("weight",))
    for _, layer, weight in weight_layers(model):
        draw = _like(weight, generator)
        deviation = math.sqrt(2.0 / _fan_in(layer, weight))
        weight.copy_(draw.normal_(0.0, deviation, generator=generator))


@torch.no_grad()
def initialize_biases(
    model: nn.Module,
    *,
    scheme: str = "positive",
    scale: float = 1.0,
    generator: Generator | None = None,
) -> None:
    """Set the biases of Linear and Conv layers, in place.

    While most weights are zero, equal biases would give all neurons without weights equal outputs and
    equal gradients; random biases tell these neurons apart. fan_in is defined in `he_normal`.

    Args:
        model: The network.
        scheme: `"positive"`: U(0, b), for ReLU; `"symmetric"`: U(-b, b), for activations that
            vanish only at 0; `"zero"`. Here b = scale / sqrt(fan_in).
        scale: Factor of b, >= 0. The published code takes 1 for its perceptron and 10 for its
            convolutional network.
        generator: Source of randomness.

    Raises:
        ValueError: Unknown scheme or negative scale, or biases are computed from other parameters;
            nothing is changed.
    """
    check_choice("scheme", scheme, BiasScheme)
    check_non_negative("scale", scale)
    check_plain_weights(model, modules=WEIGHT_LAYERS, tensors=("bias",))
    for _, layer, weight in weight_layers(model):
        bias = layer.bias
        if not isinstance(bias, Tensor):
            continue
        bound = scale / math.sqrt(_fan_in(layer, weight))
        low, high = {"positive": (0.0, bound), "symmetric": (-bound, bound), "zero": (0.0, 0.0)}[
            scheme
        ]
        bias.copy_(_like(bias, generator).uniform_(low, high, generator=generator))


@torch.no_grad()
def initialize_shifts(
    model: nn.Module, *, scale: float, generator: Generator | None = None
) -> None:
    """Draw the shifts of BatchNorm layers from U(0, scale), in place.

    A filter without weights gives BatchNorm a constant, which becomes its shift: with torch's 0 the
    ReLU behind it passes no gradient, so that the filter can never get weights. Section 4.1 asks for
    positive biases for this reason, and where BatchNorm follows, its shift is the bias.

    Args:
        model: The network; BatchNorm layers without parameters are left alone.
        scale: Upper end of the shifts; 0 makes all of them 0.
        generator: Source of randomness.

    Raises:
        ValueError: `scale` is negative; nothing is changed.
    """
    check_non_negative("scale", scale)
    for layer in model.modules():
        if isinstance(layer, BATCH_NORMS) and isinstance(layer.bias, Tensor):
            draw = _like(layer.bias, generator)
            layer.bias.copy_(draw.uniform_(0.0, scale, generator=generator))


@torch.no_grad()
def sparsify(
    model: nn.Module,
    density: float,
    *,
    by: str = "entry",
    exact: bool = True,
    balanced: bool = False,
    rescale: bool | float = True,
    generator: Generator | None = None,
) -> None:
    """Set random entries or groups of Linear and Conv weights to zero, in place (eqs. 4.2-4.5).

    Args:
        model: The network, with dense weights.
        density: Fraction of entries or groups that stay, in (0, 1].
        by: `"entry"`, `"kernel"`, `"filter"` or `"row"`; `bregman.layers` says which entries form one
            group in each type of layer.
        exact: True: keep exactly `round(density * count)` groups in each layer, at least one, drawn
            without replacement. False: keep each group with probability `density`, as in the paper.
        balanced: Keep exactly `round(density * count)` entries of each filter or row, at least one, so
            that no output is without weights. Layers with small filters become denser than `density`.
        rescale: True: multiply the kept weights by 1 / sqrt(density), which keeps the variance
            (eq. 4.3); with `exact` it does so up to the rounding of density * count; with `balanced`
            the factor is 1 / sqrt(share that a layer keeps). A float is the factor itself (the
            published code has 4.77 and 10, among others). False: do not multiply.
        generator: Source of randomness.

    Raises:
        ValueError: A value is out of range, `balanced` does not go with the other options, or weights
            are computed from other parameters; nothing is changed.
    """
    check_density(density)
    check_choice("by", by, Grouping)
    if balanced and (by in ("filter", "row") or not exact):
        raise ValueError(
            f"balanced keeps a fixed number of entries or kernels of each filter, not by={by!r}, "
            f"exact={exact}: use by='entry' or 'kernel' and exact=True"
        )
    check_plain_weights(model, modules=WEIGHT_LAYERS, tensors=("weight",))
    factor = _rescale_factor(rescale, density)
    for _, layer, weight in weight_layers(model):
        dims = layer_dims(layer, by)
        shape = [1 if axis in dims else size for axis, size in enumerate(weight.shape)]
        if balanced:
            keep = _balanced_mask(layer, shape, density, like=weight, generator=generator)
            factor = _rescale_factor(rescale, float(keep.double().mean()) or 1.0)
        else:
            keep = _random_mask(shape, density, exact=exact, like=weight, generator=generator)
        weight.mul_(factor).masked_fill_(~keep, 0.0)


def _rescale_factor(rescale: bool | float, density: float) -> float:
    if rescale is True:
        return 1.0 / math.sqrt(density)
    if rescale is False:
        return 1.0
    check_positive("rescale", rescale)
    return rescale


def _random_mask(
    shape: list[int], density: float, *, exact: bool, like: Tensor, generator: Generator | None
) -> Tensor:
    device = like.device if generator is None else generator.device
    count = math.prod(shape)
    if exact:
        keep = torch.zeros(count, dtype=torch.bool, device=device)
        chosen = torch.randperm(count, generator=generator, device=device)
        keep[chosen[: max(1, round(density * count))]] = True
    else:
        keep = torch.rand(count, generator=generator, device=device) < density
    return keep.view(shape).to(like.device)


def _balanced_mask(
    layer: nn.Module,
    shape: list[int],
    density: float,
    *,
    like: Tensor,
    generator: Generator | None,
) -> Tensor:
    """The same number of entries (or groups) of each output, drawn without replacement."""
    transposed = isinstance(layer, _ConvTransposeNd)
    groups = layer.groups if transposed else 1  # each with outputs and inputs of its own
    first, second, *taps = shape
    outputs, inputs = (second, first // groups) if transposed else (first, second)
    count = inputs * math.prod(taps)
    device = like.device if generator is None else generator.device
    draws = torch.rand(groups * outputs, count, generator=generator, device=device)
    chosen = draws.argsort(dim=1)[:, : max(1, round(density * count))]
    keep = torch.zeros(draws.shape, dtype=torch.bool, device=device).scatter_(1, chosen, True)
    keep = keep.view(groups, outputs, inputs, *taps)
    return (keep.transpose(1, 2) if transposed else keep).reshape(shape).to(like.device)


def _like(tensor: Tensor, generator: Generator | None) -> Tensor:
    """An uninitialised contiguous tensor of the same shape, on a device where the generator can write."""
    device = tensor.device if generator is None else generator.device
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)


def _fan_in(layer: nn.Module, weight: Tensor) -> float:
    """Mean number of products in one output; 1 for a layer without inputs."""
    if isinstance(layer, _ConvTransposeNd):  # (in, out / groups, *kernel)
        taps = math.prod(weight.shape[2:]) / math.prod(layer.stride)
        return weight.shape[0] // layer.groups * taps or 1.0
    return math.prod(weight.shape[1:]) or 1.0
