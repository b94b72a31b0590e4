"""Pairs of parameter lists that two optimisers are run on, side by side."""

from __future__ import annotations

import torch

#: foreach=False is the reference, None the fast path
PATHS = [False, None]


def parameters(*shapes: tuple[int, ...]) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in shapes]


def copies(params: list[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(param.detach().clone()) for param in params]


def same_gradients(*twins: list[torch.nn.Parameter]) -> None:
    for params in zip(*twins, strict=True):
        grad = torch.randn_like(params[0])
        for param in params:
            param.grad = grad.clone()


def assert_same_path(ours, theirs, our_params, their_params, steps=12):
    for _ in range(steps):
        same_gradients(our_params, their_params)
        ours.step()
        theirs.step()
        torch.testing.assert_close(our_params, their_params, rtol=1e-11, atol=1e-13)
