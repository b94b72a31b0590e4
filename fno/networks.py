"""Conversions of whole networks between the two parametrisations of their convolutions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bregman.modules import evaluating
from fno.convert import is_circular, to_spatial, to_spectral
from fno.sizes import Size, as_size, smaller
from fno.spectral_conv import SpectralConv2d


def spectral_network(
    network: nn.Module,
    example: Tensor,
    *,
    modes: int | Sequence[int] | None = None,
    truncation: str = "exact",
) -> nn.Module:
    """A copy of a network with spectral layers in place of its circular convolutions.

    With `modes=None` and on inputs of the example's size the outputs are those of the network. On other
    sizes the kernels of the copy keep their extent relative to the image, whereas kernels of the network
    keep their number of pixels. 1 x 1 convolutions have no extent and are kept.

    Args:
        network: a network whose `nn.Conv2d` layers are circular and keep the size; it is not changed.
        example: one batch of inputs; only its shape, dtype and device matter.
        modes: number of modes that are kept per axis; at most the number of pixels of a layer's input.
        truncation: how modes are cut off, see `to_spectral`.

    Returns:
        The copy, which shares no tensors with the network.

    Raises:
        ValueError: a convolution is not circular or is used at several sizes (the message names it), the
            truncation is unknown, or the published truncation is not known for the size of a layer.
    """

    def convert(layer: nn.Module, size: Size) -> nn.Module:
        assert isinstance(layer, nn.Conv2d)
        count = size if modes is None else smaller(as_size(modes, "modes"), size)
        return to_spectral(layer, size, modes=count, truncation=truncation)

    return _replace(network, example, _has_extent, convert)


def spatial_network(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy of a network with circular convolutions in place of its spectral layers.

    On inputs of the example's size the outputs are those of the network. Kernels are as large as their
    inputs.

    Args:
        network: the network, which is not changed.
        example: one batch of inputs; only its shape, dtype and device matter.

    Raises:
        ValueError: a layer is used at several sizes (the message names it).
    """

    def convert(layer: nn.Module, size: Size) -> nn.Module:
        assert isinstance(layer, SpectralConv2d)
        return to_spatial(layer, size)

    return _replace(network, example, lambda layer: isinstance(layer, SpectralConv2d), convert)


def _has_extent(layer: nn.Module) -> bool:
    """Whether a layer is a convolution to convert: every one but circular 1 x 1 convolutions."""
    return isinstance(layer, nn.Conv2d) and (layer.kernel_size != (1, 1) or not is_circular(layer))


def _replace(
    network: nn.Module,
    example: Tensor,
    chosen: Callable[[nn.Module], bool],
    convert: Callable[[nn.Module, Size], nn.Module],
) -> nn.Module:
    """Copy the network and replace the chosen modules, given the sizes of their inputs."""
    result = copy.deepcopy(network)
    sizes = _input_sizes(result, example, chosen)
    replaced: dict[nn.Module, nn.Module] = {}
    for name, module in list(result.named_modules(remove_duplicate=False)):
        if module not in sizes:
            continue
        if module not in replaced:
            try:
                replaced[module] = convert(module, sizes[module])
            except ValueError as error:
                raise ValueError(f"module {name!r}: {error}") from None
        if not name:
            return replaced[module]
        parent, _, child = name.rpartition(".")
        setattr(result.get_submodule(parent), child, replaced[module])
    return result


def _input_sizes(
    network: nn.Module, example: Tensor, chosen: Callable[[nn.Module], bool]
) -> dict[nn.Module, Size]:
    """Height and width of the input of each chosen module, for the example."""
    sizes: dict[nn.Module, Size] = {}
    names = {module: name for name, module in network.named_modules() if chosen(module)}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        size = as_size((inputs[0].shape[-2], inputs[0].shape[-1]))
        if sizes.setdefault(module, size) != size:
            raise ValueError(
                f"module {names[module]!r} is used at sizes {sizes[module]} and {size}; "
                "only one of them can be converted exactly"
            )

    hooks = [module.register_forward_pre_hook(note) for module in names]
    try:
        with evaluating(network), torch.no_grad():
            network(example)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes
