"""What training has taken: closed forms, and a count of what each step did."""

from __future__ import annotations

import pytest
import torch

from bregbench.measures.cost import count_macs
from bregbench.methods.backprop import Backprop
from bregbench.models import Cnn, Lenet5
from bregbench.runs.train import run_directory, train
from bregbench.training.effort import Effort, Meter
from bregbench.training.trainer import Training
from dessilbi import shrink
from tests.places import without_times

IMAGES = 1262  # of the training split
MACS = 64 * 16 + 16 * 10


def spent(config) -> list[dict[str, float]]:
    rows = run_directory(config).read_metrics()
    return [{k: v for k, v in row.items() if k.startswith("cost/train_")} for row in rows]


def test_a_dense_run_does_three_products_for_every_image(make_config):
    config = make_config("method=sgd")
    final = train(config)["final"]["trained"]
    wanted = [3 * MACS * IMAGES * epoch for epoch in (1, 2, 3)]
    for name in ("cost/train_macs", "cost/train_macs_dense", "cost/train_macs_theoretical"):
        assert [row[name] for row in spent(config)] == pytest.approx(wanted)
    assert {k: v for k, v in final["last"].items() if k.startswith("cost/train_")} == spent(config)[
        -1
    ]
    seconds = [row["cost/train_seconds"] for row in spent(config)]
    assert 0 < seconds[0] < seconds[1] < seconds[2]


def test_zeros_leave_the_gradient_of_the_weights_in_full(make_config):
    config = make_config("method=linbreg", "trainer.epochs=1")
    train(config)
    (row,) = run_directory(config).read_metrics()
    final = run_directory(config).read_summary()["final"]["trained"]["last"]
    wanted = IMAGES * (2 * final["cost/effective_macs"] + MACS)
    assert row["cost/train_macs_theoretical"] == pytest.approx(wanted)
    assert row["cost/train_macs"] == 3 * MACS * IMAGES


def test_coarse_steps_count_as_the_network_that_they_train(make_config, monkeypatch):
    done, step = [0], Backprop.step

    def counted(self: Backprop, inputs, targets, indices=None):
        found = step(self, inputs, targets, indices)
        done[0] += 3 * len(inputs) * count_macs(self.at_work, (1, 8, 8)).dense
        return found

    monkeypatch.setattr(Backprop, "step", counted)
    config = make_config("method=linbreg", "method.shrink.mode=always", "model.hidden=[24,16]")
    train(config)
    last = spent(config)[-1]
    assert last["cost/train_macs"] == done[0] < last["cost/train_macs_dense"]
    assert last["cost/train_macs_theoretical"] < last["cost/train_macs"]


@pytest.mark.parametrize("model", [Cnn(channels=[6, 5], hidden=[7]), Lenet5()])
def test_layers_multiply_in_proportion_to_their_weights(model):
    network = model.build(input_shape=(1, 28, 28), classes=10)
    meter = Meter(network, (1, 28, 28))
    whole = meter.of(network)
    with torch.no_grad():
        network.conv2.weight[2:] = 0.0
        network.conv2.bias.zero_()
    small = shrink(network, example=torch.rand(2, 1, 28, 28))
    assert (
        meter.of(small)
        == count_macs(small, (1, 28, 28)).dense
        < whole
        == count_macs(network, (1, 28, 28)).dense
    )


def test_a_killed_run_has_counted_every_step_once(make_config, train_killed, tmp_path):
    often = (
        "method=linbreg",
        "method.shrink.mode=always",
        "trainer.checkpoint_minutes=1e-9",
        "data.limit=600",
    )
    whole, killed = (make_config(*often, f"runs_dir={tmp_path / name}") for name in "ab")
    train(whole)
    train_killed(killed, saves=7)
    assert without_times(spent(whole)) == without_times(spent(killed))
    assert spent(whole)[-1]["cost/train_macs"] > 0


def test_the_best_epoch_has_what_was_spent_until_then(make_config, monkeypatch):
    measure, accuracies = Training._measure, [0.1, 0.9, 0.2, 0.3]

    def scripted(self: Training) -> dict[str, float]:
        return measure(self) | {"validation/accuracy": accuracies[self.position.epochs]}

    monkeypatch.setattr(Training, "_measure", scripted)
    final = train(make_config("method=sgd"))["final"]["trained"]
    assert final["best"]["cost/train_macs"] == 3 * MACS * IMAGES
    assert final["last"]["cost/train_macs"] == 3 * MACS * IMAGES * 3


def test_an_older_checkpoint_makes_no_claims():
    effort = Effort.resumed(None)
    assert effort.metrics() == {}


def test_lifted_training_has_times_alone(make_config):
    config = make_config(
        "method=lifted", "model.activation=relu", "trainer.epochs=1", "data.limit=300"
    )
    train(config)
    assert [set(row) for row in spent(config)] == [{"cost/train_seconds", "cost/train_cpu_seconds"}]
