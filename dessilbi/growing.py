"""Growing a network: layers of which most filters are selected get new filters (section 5.3)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from bregman.layers import WEIGHT_LAYERS
from bregman.optimizer import zero_state
from bregman.validation import check_choice
from dessilbi.choices import GrowthMode
from dessilbi.comparing import Original
from dessilbi.graph import UNSURE, ChannelGraph, Space
from dessilbi.nodes import PaddedShortcut
from dessilbi.optimizer import DessiLBI
from dessilbi.probing import Example, Probe
from dessilbi.resizing import NORM_TENSORS, output_axis, output_channels, sync_sizes
from dessilbi.supports import filter_masks

#: Deviation of new entries of Linear weights, as published.
LINEAR_DEVIATION = 0.01


def vgg_growth(width: int) -> int:
    """The published rule for VGG16: 8 filters or a tenth more, whichever is more."""
    return max(width + 8, width * 11 // 10)


def resnet_growth(width: int) -> int:
    """The published rule for ResNet56: 4 filters or a tenth more, whichever is more."""
    return max(width + 4, width * 11 // 10)


@torch.no_grad()
def growth_ratios(model: nn.Module, optimizer: DessiLBI) -> dict[str, float]:
    """`#supp Gamma / #supp W` in filters, of every penalised convolution by layer name: eq. 23."""
    ratios = {}
    for name, selected in filter_masks(model, optimizer).items():
        layer = model.get_submodule(name.removesuffix(".weight"))
        weight: Tensor = layer.weight  # pyright: ignore[reportAssignmentType]
        rows = weight.transpose(0, output_axis(layer)).flatten(1)
        present = int(rows.ne(0).any(dim=1).count_nonzero())
        ratios[name.removesuffix(".weight")] = int(selected.count_nonzero()) / max(present, 1)
    return ratios


def grown_widths(
    model: nn.Module,
    optimizer: DessiLBI,
    *,
    threshold: float = 0.8,
    rule: Callable[[int], int] = vgg_growth,
    example: Example | None = None,
) -> dict[str, int]:
    """New widths of the convolutions whose ratio has reached the threshold, by layer name.

    An empty result ends the growth: that is the published stopping rule. Layers that cannot grow, such
    as the last layer, are left out. A residual stream grows as soon as one of its layers has reached
    the threshold. For `example` see `grow`.
    """
    graph = ChannelGraph(model, example)
    return {
        name: rule(output_channels(model.get_submodule(name)))
        for name, ratio in growth_ratios(model, optimizer).items()
        if ratio >= threshold and graph.space_of(name).rigid is None
    }


@torch.no_grad()
def grow(
    model: nn.Module,
    widths: Mapping[str, int],
    *,
    mode: str = "reset",
    generator: torch.Generator | None = None,
    example: Example | None = None,
) -> nn.Module:
    """A copy of the network with wider layers; the old filters come first in each layer.

    New filters are He-normal (fan out) in convolutions and N(0, 0.01^2) in Linear layers; new biases are
    0, new norm scales 1 and shifts 0. Frozen parameters stay frozen.

    Args:
        model: A network that `torch.fx` can trace.
        widths: New number of outputs of each layer that grows. Layers on one residual stream grow
            together, to the largest of their widths.
        mode: `"reset"`, as published: weights that read the new filters are random, so the outputs
            change, and the running statistics of all norm layers are reset; a new optimiser starts with
            V, Gamma and momentum at zero. `"preserve"`: weights with which old filters read the new ones
            are zero, so outputs and statistics stay; `carry_state` copies the optimiser's state.
        generator: Random generator of the new entries, on the CPU.
        example: A batch of inputs, see `dessilbi.shrink`, on which the outputs of the mode
            `"preserve"` are compared. Made-up inputs are features rather than tokens.

    Raises:
        ValueError: The mode or a layer is unknown, a width is smaller than now, channels cannot grow,
            the network cannot be traced, or its outputs would change (see `dessilbi.shrink`).
    """
    check_choice("mode", mode, GrowthMode)
    probe = Probe(model, example)
    original = Original(model, probe) if mode == "preserve" else None
    grown = copy.deepcopy(model if original is None else original.copied)
    graph = ChannelGraph(grown, probe)
    targets: dict[str, list[int]] = {}
    for name, layer in grown.named_modules():
        if isinstance(layer, WEIGHT_LAYERS):
            axis = output_axis(layer)
            targets[name] = [layer.weight.shape[axis], layer.weight.shape[1 - axis]]
    norms: dict[str, int] = {}
    for space in graph.spaces:
        wanted = [widths[name] for name in space.producers if name in widths]
        if not wanted:
            continue
        _check(space, wanted, mode)
        for name in space.shortcuts:
            shortcut = grown.get_submodule(name)
            assert isinstance(shortcut, PaddedShortcut)
            shortcut.outputs = max(wanted)
        for name in space.producers:
            targets[name][0] = max(wanted)
        for name in space.readers:
            targets[name][1] = targets[name][1] // space.channels * max(wanted)
        norms |= dict.fromkeys(space.norms, max(wanted))
    for name in widths:
        graph.space_of(name)
    for name, (outputs, inputs) in targets.items():
        _widen(grown.get_submodule(name), outputs, inputs, mode=mode, generator=generator)
    _widen_norms(grown, norms, reset=mode == "reset")
    if original is None:
        return grown
    original.check(grown)
    return original.in_own_precision(grown)


@torch.no_grad()
def carry_state(
    model: nn.Module, optimizer: DessiLBI, grown: nn.Module, new_optimizer: DessiLBI
) -> None:
    """Copy V, Gamma and momentum into the optimiser of a grown network; new entries are zero.

    Args:
        model: The network before growing.
        optimizer: Its optimiser.
        grown: The network that `grow(model, widths, mode="preserve")` returned.
        new_optimizer: A new optimiser of the grown network, changed in place.
    """
    params = dict(grown.named_parameters())
    for name, old in model.named_parameters():
        state = optimizer.state.get(old, {})
        if state:
            new_optimizer.state[params[name]] = {
                key: _into_corner(zero_state(params[name]), value) for key, value in state.items()
            }


def _check(space: Space, wanted: list[int], mode: str) -> None:
    label = ", ".join(map(repr, space.producers))
    if space.rigid is not None:
        raise ValueError(f"layer {label} cannot grow: {space.rigid}")
    if mode == "preserve" and space.fixed not in (None, UNSURE):
        raise ValueError(f"layer {label} can only grow with mode 'reset': {space.fixed}")
    if min(wanted) < space.channels:
        raise ValueError(f"Invalid width of {label}: {min(wanted)} (must be >= {space.channels})")


def _widen(
    layer: nn.Module,
    outputs: int,
    inputs: int,
    *,
    mode: str,
    generator: torch.Generator | None,
) -> None:
    axis = output_axis(layer)
    old: Tensor = layer.weight.detach()  # pyright: ignore[reportCallIssue, reportAssignmentType, reportAttributeAccessIssue]
    shape = [*((inputs, outputs) if axis else (outputs, inputs)), *old.shape[2:]]
    if list(old.shape) == shape:
        return
    fan_out = outputs * math.prod(old.shape[2:])
    deviation = LINEAR_DEVIATION if isinstance(layer, nn.Linear) else math.sqrt(2.0 / fan_out)
    weight = (deviation * torch.randn(shape, generator=generator)).to(old)
    if mode == "preserve":
        weight.narrow(axis, 0, old.shape[axis]).zero_()  # old filters ignore new inputs
    _put(layer, "weight", _into_corner(weight, old))
    if isinstance(layer.bias, Tensor):
        bias = layer.bias.detach()
        _put(layer, "bias", _into_corner(bias.new_zeros(outputs), bias))
    sync_sizes(layer)


def _widen_norms(model: nn.Module, widths: Mapping[str, int], *, reset: bool) -> None:
    for name, layer in model.named_modules():
        if name in widths:
            for tensor, fill in zip(NORM_TENSORS, (1.0, 0.0, 0.0, 1.0), strict=True):
                old = getattr(layer, tensor)
                if isinstance(old, Tensor):
                    new = old.detach().new_full((widths[name],), fill)
                    _put(layer, tensor, _into_corner(new, old.detach()))
            sync_sizes(layer)
        if reset and isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_running_stats()


def _put(layer: nn.Module, name: str, value: Tensor) -> None:
    """Replace a parameter or buffer by a new value; a frozen parameter stays frozen."""
    old = getattr(layer, name)
    if isinstance(old, nn.Parameter):
        value = nn.Parameter(value, requires_grad=old.requires_grad)
    setattr(layer, name, value)


def _into_corner(new: Tensor, old: Tensor) -> Tensor:
    """Write the old entries over the leading ones of the new tensor."""
    new[tuple(slice(size) for size in old.shape)] = old
    return new
