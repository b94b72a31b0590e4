"""What a filter looks for: the image that excites it most (Erhan et al., 2009)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from bregman.modules import evaluating

STEPS, RATE, STARTS = 150, 0.05, 8


def exciting_images(
    network: nn.Module,
    layer: str,
    filters: Sequence[int],
    *,
    input_shape: tuple[int, ...],
    steps: int = STEPS,
    starts: int = STARTS,
) -> torch.Tensor:
    """Images in [0, 1] that maximise the mean output of single filters, by gradient ascent.

    Adam starts from uniform noise in [0, 1] with a fixed seed, and pixels stay in [0, 1]. The best of
    several starts counts, because no gradient reaches the image where all units before a filter are off,
    as they are for sparse filters on an even grey image. The image of a filter that is off on all starts
    stays noise.

    Args:
        network: A network that takes images in [0, 1]; it is not changed.
        layer: Name of a Linear or convolution layer of the network.
        filters: Indices of the layer's outputs; each gets one image.
        input_shape: Channels, height and width.
        steps: Number of steps of the ascent.
        starts: Number of ascents for each filter.

    Returns:
        Images ``(filters, channels, height, width)`` on the CPU.

    Raises:
        AttributeError: The network has no such layer.
    """
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand((starts, *input_shape), generator=generator).to(device)
    images = noise.repeat_interleave(len(filters), dim=0).requires_grad_()
    wanted = torch.tensor(list(filters), device=device).repeat(starts)[:, None]
    seen: list[torch.Tensor] = []
    hook = network.get_submodule(layer).register_forward_hook(lambda *call: seen.append(call[2]))
    ascent = torch.optim.Adam([images], lr=RATE, amsgrad=True, maximize=True)

    def excitement() -> torch.Tensor:
        seen.clear()
        network(images)
        outputs = seen[0].flatten(2).mean(2) if seen[0].dim() > 2 else seen[0]
        return outputs.gather(1, wanted)[:, 0]

    try:
        with evaluating(network):
            for _ in range(steps):
                (images.grad,) = torch.autograd.grad(excitement().sum(), images)
                ascent.step()
                with torch.no_grad():
                    images.clamp_(0, 1)
            best = excitement().detach().view(starts, -1).argmax(dim=0)
    finally:
        hook.remove()
    found = images.detach().view(starts, len(filters), *input_shape)
    return found[best, torch.arange(len(filters), device=device)].cpu()
