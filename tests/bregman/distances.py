"""The elastic net `J_delta` and its Bregman distances, for the tests of the paper's lemmas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bregman import LinBreg
from bregman.penalties import Penalty


def dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum()


@dataclass(frozen=True)
class ElasticNet:
    """`lam J + |.|^2 / (2 delta)`; with delta = inf it is `lam J` itself (eq. 2.6)."""

    penalty: Penalty
    lam: float
    delta: float = math.inf

    def __call__(self, theta: Tensor) -> Tensor:
        return self.penalty.value(theta, self.lam) + theta.square().sum() / (2 * self.delta)

    def distance(self, to: Tensor, at: Tensor, dual: Tensor) -> Tensor:
        """Bregman distance of `to` from `at`, with the subgradient `dual` at `at` (eq. 1.17)."""
        return self(to) - self(at) - dot(dual, to - at)


def prepare(optimizer: LinBreg, param: torch.nn.Parameter) -> None:
    """Create the dual by a step without a gradient, which moves nothing."""
    param.grad = torch.zeros_like(param)
    optimizer.step()
