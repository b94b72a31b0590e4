"""Clipping, accumulation, warm-up, averages, patience and smoothing: oracles, resume, and every method."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from bregbench import load_run
from bregbench.foundations.errors import BenchError
from bregbench.foundations.identity import config_hash
from bregbench.methods.backprop import Backprop
from bregbench.methods.schedules import Cosine
from bregbench.runs.train import run_directory, train
from bregbench.schema.compose import compose
from bregbench.schema.options import options
from bregbench.tasks.base import Classification
from bregbench.training.averaging import MovingAverage
from bregbench.training.trainer import Training
from tests.places import final_without_times, without_times

SMALL = ("model.hidden=[6]", "model=mlp", "data.limit=64", "data.validation=32")
SHORT = (*SMALL, "trainer.batch_size=16", "evaluators=[accuracy,density]")
FEATURES = {
    "clip": ("trainer.clip_gradients=0.1",),
    "accumulate": ("trainer.accumulate=2",),
    "warmup": ("trainer.warmup=2",),
    "ema": ("trainer.ema=0.9",),
    "patience": ("trainer.patience=1",),
    "smoothing": ("task.label_smoothing=0.1",),
}
LIFTED = ("lifted", "lifted_backprop", "lifted_classical", "lifted_mac")
#: what has no meaning together, and is refused
REFUSED = {
    *((name, feature) for name in LIFTED for feature in ("clip", "accumulate", "smoothing")),
    *(("rmda", "warmup"), ("ramda", "warmup")),
    *((name, "patience") for name in ("gmp", "granet", "xrda")),
}


def rows(config: Any) -> list[dict[str, Any]]:
    return without_times(run_directory(config).read_metrics())


@pytest.mark.parametrize("feature", FEATURES)
def test_defaults_are_as_before(feature):
    changed = config_hash(compose(*FEATURES[feature]))
    assert changed != config_hash(compose()) == "dfc08ef5"


@pytest.mark.parametrize("method", options()["method"])
def test_every_method_resumes_exactly_with_all_that_it_takes(make_config, train_killed, method):
    taken = [f for f in FEATURES if (method, f) not in REFUSED]
    overrides = [text for feature in taken for text in FEATURES[feature]]
    if "patience" in taken:
        overrides.append("trainer.patience=3")
    common = (*SHORT, f"method={method}", *overrides, "trainer.checkpoint_minutes=1e-9")
    whole = make_config(*common, "experiment_name=whole")
    killed = dataclasses.replace(whole, experiment_name="killed")
    train(whole)
    train_killed(killed, saves=4)  # within the second epoch
    assert rows(killed) == rows(whole)
    ours, theirs = (final_without_times(run_directory(c).read_summary()) for c in (killed, whole))
    assert ours == theirs
    assert ours["ema"]["last"].keys() >= {"test/accuracy", "train/accuracy"}


@pytest.mark.parametrize(("method", "feature"), sorted(REFUSED))
def test_what_has_no_meaning_is_refused_by_name(method, feature):
    key = FEATURES[feature][0]
    with pytest.raises(
        BenchError, match=rf"^{key} has no meaning for method={method.split('_')[0]}"
    ) as caught:
        compose(f"method={method}", key)
    assert "leave" in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["objective=clip", "trainer.accumulate=2"],
            "for objective=clip, which looks at whole batches",
        ),
        (
            ["method.target_density=0.1", "trainer.patience=2"],
            r"whose method\.target_density is spread",
        ),
        (["method.healing.epochs=2", "trainer.patience=2"], r"method\.healing\.epochs is spread"),
        (["trainer.select_on=test", "trainer.patience=2"], "it would stop on test images"),
        (["trainer.device=mps"], "needs a Mac"),
    ],
)
def test_further_pairs_are_refused(overrides, message):
    if overrides == ["trainer.device=mps"] and torch.backends.mps.is_available():
        pytest.skip("this machine has such a device")
    with pytest.raises(BenchError, match=message):
        compose(*overrides).trainer.torch_device()


def gradients_of_a_step(config: Any, monkeypatch) -> list[torch.Tensor]:
    """Gradients that the optimiser of a run sees in its first step."""
    seen: list[torch.Tensor] = []
    step = Backprop._differentiated

    def differentiated(self: Backprop, *parts: Any) -> Any:
        found = step(self, *parts)
        seen.extend(p.grad.clone() for p in self.network.parameters() if p.grad is not None)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Backprop, "_differentiated", differentiated)
        train(config)
    return seen


def test_two_batches_are_one_of_twice_the_size(make_config, monkeypatch):
    one = ("method=sgd", "trainer.max_steps=1", *SMALL)
    parts = make_config(*one, "trainer.batch_size=8", "trainer.accumulate=3")
    whole = make_config(*one, "trainer.batch_size=24")
    ours, theirs = (gradients_of_a_step(config, monkeypatch) for config in (parts, whole))
    for one_, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one_, other, rtol=1e-5, atol=1e-7)
    found, expected = (run_directory(c).read_metrics()[0]["train/loss"] for c in (parts, whole))
    assert found == pytest.approx(expected, rel=1e-6)


def test_gradients_are_clipped_as_torch_does(make_config, monkeypatch):
    config = make_config(
        "method=sgd",
        "method.lr=1",
        "method.momentum=0",
        "trainer.max_steps=1",
        *SMALL,
        "trainer.clip_gradients=0.25",
        "trainer.snapshots=[0]",
    )
    gradients = gradients_of_a_step(config, monkeypatch)
    norm = torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients]))
    assert norm > 0.25
    path = run_directory(config).path
    start, end = (list(n.parameters()) for n in (load_run(path, epoch=0), load_run(path)))
    for before, after, gradient in zip(start, end, gradients, strict=True):
        torch.testing.assert_close(before - after, gradient * 0.25 / norm, rtol=1e-4, atol=1e-6)


def test_the_average_has_its_closed_form():
    network = nn.Linear(3, 2).double()
    average = MovingAverage(network, 0.8)
    weights = [network.weight.detach().clone()]
    for _ in range(5):
        with torch.no_grad():
            network.weight.add_(torch.randn(2, 3, dtype=torch.float64))
        average.update(network)
        weights.append(network.weight.detach().clone())
    expected = 0.8**5 * weights[0] + 0.2 * sum(
        (0.8 ** (5 - t) * weights[t] for t in range(1, 6)), torch.zeros(2, 3, dtype=torch.float64)
    )
    torch.testing.assert_close(average.network.get_parameter("weight").data, expected)


def test_the_average_counts_shared_weights_once_and_copies_counters():
    layer = nn.Linear(2, 2)
    network = nn.Sequential(layer, nn.BatchNorm1d(2), layer)
    average = MovingAverage(network, 0.5)
    before = copy.deepcopy(layer.weight.data)
    with torch.no_grad():
        layer.weight.add_(1)
    network(torch.randn(4, 2))
    average.update(network)
    torch.testing.assert_close(average.network.get_parameter("0.weight").data, before + 0.5)
    assert average.network.get_buffer("1.num_batches_tracked") == 1


def test_an_average_without_memory_is_the_network(make_config):
    final = train(make_config(*SHORT, "trainer.ema=0"))["final"]
    assert final["ema"]["last"]["test/accuracy"] == final["trained"]["last"]["test/accuracy"]


def test_warm_up_multiplies_the_schedule():
    plain, warm = (Cosine().build(6, warmup=w) for w in (0, 3))
    for epoch in range(6):
        assert warm.factor == pytest.approx(plain.factor * min(1, (epoch + 1) / 4))
        for schedule in (plain, warm):
            schedule.end_epoch({})
    again = Cosine().build(6, warmup=3)
    again.load_state_dict(warm.state_dict())
    assert again.factor == warm.factor


def test_labels_are_smoothed_as_torch_does():
    outputs, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 3])
    task = Classification(label_smoothing=0.2)
    plain = nn.CrossEntropyLoss()(outputs, labels)
    uniform = -outputs.log_softmax(1).mean()
    torch.testing.assert_close(task.training_loss(outputs, labels), 0.8 * plain + 0.2 * uniform)
    torch.testing.assert_close(task.loss(outputs, labels), plain)


def test_patience_ends_the_run_and_says_so(make_config, monkeypatch):
    """Scores are made up: the best one comes in epoch 2, and an equal one in epoch 4."""
    scores = iter([0.1, 0.2, 0.5, 0.4, 0.5, 0.3, 0.2, 0.9])
    monkeypatch.setattr(Training, "_measure", lambda self: {"validation/accuracy": next(scores)})
    config = make_config(*SHORT, "trainer.epochs=20", "trainer.patience=2", "evaluators=[density]")
    summary = train(config)
    assert summary["epochs"] == 6
    assert summary["best"] == {"epoch": 4, "value": 0.5}
    assert any("phase train ended after 6 of 20 epochs" in note for note in summary["notes"])
    assert len(rows(config)) == 6
