"""Looking at a model without leaving traces: modes, gradients, precision and device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from clip.composition import Shape


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; each module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextlib.contextmanager
def differentiating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode with autograd on, also where the caller has switched it off."""
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        yield


def like_model(tensor: Tensor, model: nn.Module) -> Tensor:
    """A detached copy in the precision and on the device of the model's parameters."""
    reference = _reference(model)
    # A copy in any case: the caller may hand over a tensor made in inference mode.
    return tensor.detach().to(reference.device, reference.dtype, copy=True)


def example_input(model: nn.Module, shape: Shape) -> Tensor:
    """A batch of one, uniform in [0, 1] and always the same, as the model wants it."""
    generator = torch.Generator().manual_seed(0)
    return like_model(torch.rand(1, *shape, generator=generator), model)


def output_shape(module: nn.Module, shape: Shape) -> Shape:
    """Shape of the output for one input, found by running the module once.

    Raises:
        ValueError: the module does not accept the shape.
    """
    try:
        with torch.no_grad():
            return tuple(module(example_input(module, shape)).shape[1:])
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"does not accept inputs of shape {shape}: {error}") from error


def _reference(model: nn.Module) -> Tensor:
    """The first floating-point tensor of the model; float32 on the CPU if there is none."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            return tensor
    return torch.empty(0)
