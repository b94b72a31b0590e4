"""Lemmas 13 and 14 and Remark 9: what Bregman distances equal, at every step of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bregman import LinBreg, make_penalty
from tests.bregman.cases import PENALTIES, PenaltyCase, sparse_start
from tests.bregman.distances import ElasticNet, dot, prepare

LAM, RATES = 0.3, (0.1, 0.25, 0.05, 0.2, 0.2, 0.15, 0.1, 0.3)
DELTAS = [0.3, 1.0, 4.0]


@dataclass(frozen=True)
class Move:
    """One step: the point and its dual before and after, and what was taken from the dual."""

    theta: Tensor
    dual: Tensor
    theta_next: Tensor
    dual_next: Tensor
    taken: Tensor


def moves(case: PenaltyCase, delta: float, noise: float, momentum: float) -> Iterator[Move]:
    """A run on `|A theta - b|^2 / 2`, whose gradients carry noise; `taken` is computed by hand."""
    param = torch.nn.Parameter(sparse_start(case))
    size = param.numel()
    matrix = torch.randn(size, size, dtype=torch.float64) / math.sqrt(size)
    right = torch.randn(size, dtype=torch.float64)
    optimizer = LinBreg(
        [param], lr=RATES[0], momentum=momentum, delta=delta, lam=LAM, **case.settings
    )
    prepare(optimizer, param)
    dual = optimizer.state[param]["dual"]
    taken = torch.zeros_like(param)
    for rate in RATES:
        theta, before = param.detach().clone(), dual.clone()
        exact = matrix.T @ (matrix @ theta.flatten() - right)
        param.grad = exact.view_as(param) + noise * torch.randn_like(param)
        taken = momentum * taken + (1 - momentum) * rate * param.grad
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        yield Move(theta, before, param.detach().clone(), dual.clone(), taken)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


def energy_of(case: PenaltyCase, delta: float = math.inf) -> ElasticNet:
    penalty = make_penalty(case.name, group=case.group, group_weight=case.group_weight)
    return ElasticNet(penalty, LAM, delta)


@pytest.mark.parametrize(
    ("noise", "momentum"), [(0.0, 0.0), (1.0, 0.0), (1.0, 0.9)], ids=["exact", "noisy", "momentum"]
)
@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("case", PENALTIES, ids=str)
def test_lemma_14_for_every_sample(case, delta, noise, momentum):
    """Eqs. B.1 and B.2 before expectations are taken, for every feasible reference point.

    They hold for each sample, with the noisy gradient that was used; with momentum (Algorithm 2)
    the buffer stands where tau g stands.
    """
    energy = energy_of(case, delta)
    reference = sparse_start(case, density=0.7)
    travelled = 0.0
    for move in moves(case, delta, noise, momentum):
        change = energy.distance(reference, move.theta_next, move.dual_next) - energy.distance(
            reference, move.theta, move.dual
        )
        forward = energy.distance(move.theta_next, move.theta, move.dual)
        backward = energy.distance(move.theta, move.theta_next, move.dual_next)
        close(change, -forward + dot(move.taken, reference - move.theta_next))
        close(change, backward + dot(move.taken, reference - move.theta))
        # The difference of the two: the symmetric distance that Theorems 2 and 11 are made of.
        close(forward + backward, -dot(move.taken, move.theta_next - move.theta))
        # The identities hold for whatever theta the dual is paired with. That they are about
        # distances is the subdifferential's doing: J_delta is strongly convex with modulus 1/delta.
        half_square = (move.theta_next - move.theta).square().sum() / (2 * delta)
        assert min(forward, backward) >= half_square - 1e-12
        travelled += float(half_square)
    assert travelled > 1e-3


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("case", PENALTIES, ids=str)
def test_lemma_13_and_remark_9(case, delta):
    """The distance of J_delta is that of J plus a square, and J(ref) - <p, ref> plus that square.

    Remark 9 asks for an absolutely homogeneous J; homogeneity for positive factors is enough, and
    so the nonnegative penalty is in.
    """
    energy, plain = energy_of(case, delta), energy_of(case)
    reference = sparse_start(case, density=0.7)
    for move in moves(case, delta, noise=1.0, momentum=0.0):
        theta, dual = move.theta_next, move.dual_next
        square = (reference - theta).square().sum() / (2 * delta)
        subgradient = dual - theta / delta
        total = energy.distance(reference, theta, dual)
        close(total, plain.distance(reference, theta, subgradient) + square)
        close(total, plain(reference) - dot(subgradient, reference) + square)
