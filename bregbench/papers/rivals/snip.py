"""SNIP: masks before training, from one batch, by what each weight contributes to the loss.

Sources: Lee, Ajanthan, Torr 2019 (SNIP); de Jorge et al. 2021 (in several rounds).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from bregbench.papers.rivals.rewiring import largest


def snip_masks(
    model: nn.Module,
    weights: Mapping[str, nn.Parameter],
    loss: Callable[[], Tensor],
    *,
    density: float,
    rounds: int = 1,
) -> dict[str, Tensor]:
    """Keep the weights with the largest |w g|, over all layers, exactly `round(density N)` of them.

    In round k of K the share density^(k / K) is kept, and gradients are those of the network that the
    round before has left; what is gone stays gone.

    Args:
        model: Weights, gradients and buffers (running statistics) are as before afterwards.
        weights: Those that compete, by name.
        loss: Evaluates the model's mean loss on a batch, differentiably.
        density: Share of all these weights that is kept, in (0, 1].
        rounds: 1 is SNIP.

    Raises:
        ValueError: A value is out of range, or no gradient reaches the weights.
    """
    if not 0 < density <= 1 or rounds < 1:
        raise ValueError(
            f"Invalid density {density!r} or rounds {rounds!r} (must be in (0, 1] and at least 1)"
        )
    params = list(weights.values())
    whole = [param.detach().clone() for param in params]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    total = sum(param.numel() for param in params)
    kept = torch.ones(total, dtype=torch.bool, device=params[0].device)
    try:
        for number in range(1, rounds + 1):
            scores = _scores(params, loss).masked_fill(~kept, -1)
            kept = largest(scores, max(1, round(density ** (number / rounds) * total)))
            _write(params, whole, kept)
    finally:
        _write(params, whole, torch.ones_like(kept))
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    parts = kept.split([param.numel() for param in params])
    return {n: part.view_as(p) for (n, p), part in zip(weights.items(), parts, strict=True)}


def _scores(params: list[nn.Parameter], loss: Callable[[], Tensor]) -> Tensor:
    grads = torch.autograd.grad(loss(), params, allow_unused=True)
    if all(grad is None for grad in grads):
        raise ValueError("no gradient reaches the weights: the loss does not depend on them")
    scores = [
        torch.zeros_like(p) if g is None else (p.detach() * g).abs()
        for p, g in zip(params, grads, strict=True)
    ]
    return torch.cat([score.flatten().float() for score in scores]).nan_to_num(-0.5, -0.5)


@torch.no_grad()
def _write(params: list[nn.Parameter], whole: list[Tensor], kept: Tensor) -> None:
    parts = kept.split([param.numel() for param in params])
    for param, values, part in zip(params, whole, parts, strict=True):
        param.copy_(values * part.view_as(values))
