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

    Adam from noise that is always the same; pixels stay in [0, 1]. The noise takes the whole range and
    the best of several starts counts: where all units before a filter are off, as they are for sparse
    filters on even grey, no gradient reaches the image. A filter that stays off on all starts keeps its
    noise.

    Args:
        network: takes images in [0, 1]; left as it was.
        layer: name of a Linear or convolution layer in it.
        filters: which of its outputs, one image each.
        input_shape: channels, height and width.
        steps: of the ascent.
        starts: ascents for each filter.

    Returns:
        ``(filters, channels, height, width)`` on the CPU.

    Raises:
        AttributeError: no such layer.
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
