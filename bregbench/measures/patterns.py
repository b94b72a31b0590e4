"""What a filter looks for: the image that excites it most (Erhan et al., 2009)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from clip.evaluation import evaluating

STEPS, RATE = 150, 0.05


def exciting_images(
    network: nn.Module,
    layer: str,
    filters: Sequence[int],
    *,
    input_shape: tuple[int, ...],
    steps: int = STEPS,
) -> torch.Tensor:
    """Images in [0, 1] that maximise the mean output of single filters, by gradient ascent.

    Adam from grey noise that is always the same; pixels stay in [0, 1].

    Args:
        network: takes images in [0, 1]; left as it was.
        layer: name of a Linear or convolution layer in it.
        filters: which of its outputs, one image each.
        input_shape: channels, height and width.
        steps: of the ascent.

    Returns:
        ``(filters, channels, height, width)`` on the CPU.

    Raises:
        AttributeError: no such layer.
    """
    device = next(network.parameters()).device
    noise = torch.rand((len(filters), *input_shape), generator=torch.Generator().manual_seed(0))
    images = (0.45 + 0.1 * noise).to(device).requires_grad_()
    wanted = torch.tensor(list(filters), device=device)
    seen: list[torch.Tensor] = []
    hook = network.get_submodule(layer).register_forward_hook(lambda *call: seen.append(call[2]))
    ascent = torch.optim.Adam([images], lr=RATE, amsgrad=True, maximize=True)
    try:
        with evaluating(network):
            for _ in range(steps):
                seen.clear()
                network(images)
                outputs = seen[0].flatten(2).mean(2) if seen[0].dim() > 2 else seen[0]
                excitement = outputs.gather(1, wanted[:, None]).sum()
                (images.grad,) = torch.autograd.grad(excitement, images)
                ascent.step()
                with torch.no_grad():
                    images.clamp_(0, 1)
    finally:
        hook.remove()
    return images.detach().cpu()
