"""Evaluation of a model without changing it: modes, gradients, precision and device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Generator, Tensor, nn

from bregman.modules import evaluating
from clip.composition import Shape


@contextlib.contextmanager
def differentiating(model: nn.Module) -> Iterator[None]:
    """A context of evaluation mode with autograd on, even if the caller has switched autograd off."""
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        yield


def like_model(tensor: Tensor, model: nn.Module) -> Tensor:
    """A detached copy in the precision and on the device of the model's parameters."""
    reference = _reference(model)
    # Always copy, because the tensor may have been made in inference mode.
    return tensor.detach().to(reference.device, reference.dtype, copy=True)


def example_input(model: nn.Module, shape: Shape) -> Tensor:
    """A batch of one random input in [0, 1] with a fixed seed, like the model in dtype and device."""
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


def check_batch(module: nn.Module, shape: Shape) -> None:
    """Check that the output for an image does not depend on the other images of its batch.

    Args:
        module: the module, in evaluation mode.
        shape: shape of one input, without the batch.

    Raises:
        ValueError: the outputs of a batch of two images differ from the outputs of the single images, or
            the module does not return one tensor with one row for each image.
    """
    generator = Generator().manual_seed(1)
    images = like_model(torch.rand(2, *shape, generator=generator), module)
    with torch.no_grad():
        try:
            both = module(images.clone())
            alone = [module(image[None].clone()) for image in images]
        except (RuntimeError, IndexError, TypeError) as error:
            raise ValueError(f"does not accept batches of shape {shape}: {error}") from error
    if not isinstance(both, Tensor) or not all(isinstance(one, Tensor) for one in alone):
        raise ValueError("must return one tensor")
    singly = torch.cat([one.reshape(1, *one.shape) if one.dim() == 0 else one for one in alone])
    size = float(singly.abs().max()) if singly.numel() > 0 else 0.0
    if (
        both.shape != singly.shape
        or len(both) != 2
        or not torch.allclose(both.double(), singly.double(), rtol=1e-2, atol=1e-3 * size)
    ):
        raise ValueError(
            "mixes the images of a batch: the output for one image depends on the others, so that the "
            "map from one image to its output has no constant"
        )


def _reference(model: nn.Module) -> Tensor:
    """The first floating-point tensor of the model; float32 on the CPU if there is none."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            return tensor
    return torch.empty(0)
