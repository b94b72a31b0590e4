"""What the rows about sparse layers say; times come from a fake timer."""

from __future__ import annotations

import torch
from torch import nn

from bregbench.benchmark import sparse
from bregbench.models import Mlp


def test_rows_are_ratios_to_dense_layers_and_to_ordinary_steps(monkeypatch):
    def fake(sides, *, rounds, repeats):
        for run in sides.values():
            run()
        return {name: [{"dense": 4.0, "ordinary": 8.0}.get(name, 2.0)] * rounds for name in sides}

    monkeypatch.setattr(sparse, "interleave", fake)
    monkeypatch.setattr(sparse, "BATCH", 8)
    rows = list(sparse.sparse_rows(rounds=3, inputs=(30,), width=40))
    assert [row.value for row in rows] == [0.5] * 3 + [0.25] * 6
    assert rows[0].what == "10 % of the weights"
    assert rows[-1].what == "2 % of the weights, sparse layers"


def test_scattered_networks_have_the_share_of_weights_that_rows_name():
    network = Mlp(hidden=[200]).build(input_shape=sparse.SHAPE, classes=10)
    layers = [m for m in sparse.scattered(network, 0.1).modules() if isinstance(m, nn.Linear)]
    weights = torch.cat([layer.weight.flatten() for layer in layers])
    assert abs(float((weights != 0).float().mean()) - 0.1) < 0.01
