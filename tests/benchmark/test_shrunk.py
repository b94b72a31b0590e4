"""What the rows about shrunk training say; times come from a fake timer."""

from __future__ import annotations

import pytest
import torch

from bregbench.benchmark import shrunk, shrunk_run
from bregbench.data.normalization import Normalise, compute_normalization
from bregbench.data.split import Data, Split
from bregbench.models import Cnn
from bregman import LinBreg, penalize


@pytest.fixture(autouse=True)
def _seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_active_filters_are_those_that_the_rows_name_and_stay_so():
    network = Cnn(channels=[6, 5], hidden=[7]).build(input_shape=shrunk.SHAPE, classes=10)
    batch = torch.rand(8, *shrunk.SHAPE), torch.randint(10, (8,))
    training = shrunk._shrunk(shrunk.sparse(network, (2, 3)), batch, 2)
    for _ in range(7):
        shrunk._step(training, batch)
    assert training.network.get_parameter("conv2.weight").shape[:2] == (3, 2)
    assert [int(mask.sum()) for mask in training.kept.values()] == [2, 3, 7]


def test_rows_are_ratios_per_step(monkeypatch):
    def fake(sides, *, rounds, repeats):
        for run in sides.values():
            run()
        return {name: [3.0 if name.endswith("cycle") else 2.0] * rounds for name in sides}

    monkeypatch.setattr(shrunk, "interleave", fake)
    monkeypatch.setattr(shrunk, "ACTIVE", ((2, 3),))
    monkeypatch.setattr(shrunk, "BATCH", 16)
    step, cycle, memory = shrunk.shrunk_rows(rounds=3, config=Cnn(channels=[16, 16], hidden=[8]))
    assert step.value == 1.0
    assert cycle.value == pytest.approx(1.5 / 5)
    assert 0 < memory.value < 0.4
    assert all(row.goal is None for row in (step, cycle, memory))


def test_a_whole_run_counts_the_multiplications_of_each_step():
    images = torch.randint(256, (24, *shrunk_run.SHAPE), dtype=torch.uint8)
    split = Split(images, torch.randint(10, (24,)))
    statistics = compute_normalization(images, Normalise.channel)
    data = Data(split, split, split, classes=10, normalization=statistics, name="mnist")
    found = {}
    for most in (0, 1):
        network = shrunk_run.start("mlp", 0.1, "filter", seed=0)
        groups = penalize(network, shrunk_run.RULES["filter"], lam=10.0)
        options = {"epochs": 4, "most": most, "weight": 1.0, "seed": 0}
        found[most] = shrunk_run.run(network, LinBreg(groups, lr=1e-3), data, **options)
    assert found[0]["macs"] == 1.0
    assert found[0]["active_units/linear1"] == found[1]["active_units/linear1"] == 0.1
    # One batch an epoch: full steps in the first, second and fourth.
    small = (784 * 20 + 20 * 8 + 8 * 10) / (784 * 200 + 200 * 80 + 80 * 10)
    assert found[1]["macs"] == pytest.approx((3 + small) / 4)
