"""What the rows about DessiLBI say of small networks; times come from a fake timer."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from bregbench.benchmark import dessilbi as split
from bregbench.benchmark.sides import SMALL_NETWORKS, Network
from bregbench.models import Resnet18, Vgg16


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    torch.manual_seed(0)

    def fake(sides, *, rounds, repeats):
        for run in sides.values():
            run()
        cost = {"S": 1.0, "DessiLBI": 4.0, "SGD momentum": 1.0, "DessiLBI momentum": 1.02}
        return {name: [cost.get(name, 1.5)] * rounds for name in sides}

    def build():
        return Resnet18(width=8).build(input_shape=(3, 32, 32), classes=10)

    monkeypatch.setattr(split, "interleave", fake)
    monkeypatch.setattr(split, "NETWORKS", {"resnet18": Network("resnet18", build, 1)})


def test_step_is_held_to_its_goals():
    rows = {row.what: row for row in split.split_step_rows(rounds=3)}
    step = rows["DessiLBI, filters, momentum"]
    assert (step.value, step.goal, step.verdict) == (4.0, 4.3, "PASS")
    # V and momentum of weights, momentum alone of biases and scales: less than Adam's two.
    assert 7.5 < rows["DessiLBI, state"].value < 8.0
    assert rows["DessiLBI, state"].goal == 8.0


def test_small_networks_have_a_goal_of_their_own():
    """Their rows are about 62 and 270 thousand parameters, of which DessiLBI steps every one."""
    sizes = {}
    for name, network in SMALL_NETWORKS.items():
        rows = list(split.small_step_rows(dataclasses.replace(network, repeats=1), rounds=3))
        assert [row.goal for row in rows] == [4.0, None, None]
        assert [row.value for row in rows] == [1.5, 1.5, 1.5]
        assert {row.section for row in rows} == {f"{name}, DessiLBI"}
        sizes[name] = sum(param.numel() for param in network.build().parameters())
    assert sizes == {"lenet5": 61_706, "resnet20": 269_722}


def test_paths_agree_where_something_is_selected_and_something_not():
    share, differing, distance = split.agreement_rows()
    assert 5 < share.value < 95
    assert (differing.value, differing.verdict) == (0, "PASS")
    assert distance.verdict == "PASS"


def test_disagreement_is_seen():
    model = torch.nn.Conv2d(2, 3, 2, bias=False)
    sides = [model, copy.deepcopy(model)]
    optimizers = [split.split_iteration(side) for side in sides]
    for side, optimizer in zip(sides, optimizers, strict=True):
        side.weight.grad = torch.zeros_like(side.weight)
        optimizer.step()
    assert split.disagreement(sides, optimizers) == (0, 0.0)
    optimizers[0].state[sides[0].weight]["dual"][0] = 9.0
    sides[1].weight.data[2, 0, 0, 0] += 1.0
    differing, distance = split.disagreement(sides, optimizers)
    assert differing == 2 * 2 * 2  # one filter
    assert distance > 1e4


def test_batches_train_and_state_decides_who_needs_most_memory():
    config = Vgg16(widths=[8], hidden=64)
    rows = list(split.batch_rows(rounds=3, config=config))
    times, memory = rows[:3], {row.what: row for row in rows[3:]}
    assert [row.value for row in times] == [1.0, 1.5, 1.02]
    assert [row.verdict for row in times] == ["-", "-", "PASS"]
    sgd, adam, ours = (
        memory[f"{name}, memory"] for name in ("SGD momentum", "Adam", "DessiLBI momentum")
    )
    parameters = sum(
        p.numel() for p in config.build(input_shape=split.SHAPE, classes=10).parameters()
    )
    assert adam.value - sgd.value == pytest.approx(4e-6 * parameters, rel=0.02)
    assert sgd.value < ours.value <= adam.value
    assert ours.verdict == "PASS"
    # Weights, gradients, momentum, and at least the activations in front of the norm layers.
    assert sgd.value > 12e-6 * parameters + 4e-6 * split.BATCH * 8 * 32 * 32
