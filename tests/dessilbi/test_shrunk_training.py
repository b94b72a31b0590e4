"""Shrunk training against its oracle, and what it promises to a training loop."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from shrunk_oracle import NETWORKS, OPTIMIZERS, RULES, Pair, batches, loss_of
from torch import Tensor, nn

from bregman import LinBreg, ProxSGD, penalize
from dessilbi import ShrunkTraining, coarse_steps_at

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}


def compare(pair: Pair, *, bitwise: bool = False) -> None:
    """Weights, supports, state and running statistics, but those that may stand still."""
    options: dict[str, Any] = {"rtol": 0, "atol": 0} if bitwise else EXACT
    theirs = pair.whole.state_dict()
    for name, tensor in pair.network.state_dict().items():
        moves = ~pair.stale.get(name, torch.zeros_like(tensor, dtype=torch.bool))
        torch.testing.assert_close(tensor[moves], theirs[name][moves], **options, msg=name)
    for mine, other in zip(pair.network.parameters(), pair.whole.parameters(), strict=True):
        assert torch.equal(mine != 0, other != 0)
        state, expected = pair.optimizer.state[mine], pair.ordinary.state[other]
        assert state.keys() == expected.keys()
        for key in state:
            torch.testing.assert_close(state[key], expected[key], **options)


@pytest.mark.parametrize("penalty", RULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_coarse_steps_are_those_of_the_masked_optimiser(name, optimizer, penalty):
    pair = Pair(name, optimizer, penalty, coarse_steps=3)
    small = []
    for batch in batches(name, 9):
        ours, theirs, was_small = pair.step(batch)
        small.append(was_small)
        assert ours == pytest.approx(theirs, rel=1e-10)
        pair.shrunk.synchronise()
        compare(pair)
    assert small == [False, True, True, True] * 2 + [False]
    print(name, optimizer, penalty, {k: int(v.sum()) for k, v in pair.shrunk.kept.items()})
