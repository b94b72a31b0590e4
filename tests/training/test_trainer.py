"""What a run computes and records."""

from __future__ import annotations

import json
import math

import pytest
import torch

from bregbench.foundations.files import read_tensors
from bregbench.foundations.streams import Streams, derive_seed
from bregbench.measures.cost import TIMES
from bregbench.runs.train import run_directory, train
from bregbench.training.trainer import Training
from bregman.density_control import TOLERANCE
from tests.places import without_times

METHODS = ("sgd", "adam", "prox_sgd", "linbreg", "linbreg_momentum", "adabreg")
SPARSE = {"linbreg", "linbreg_momentum", "adabreg"}


def rows(config) -> list[dict]:
    return without_times(run_directory(config).read_metrics())


@pytest.mark.parametrize("objective", ["plain", "lasso"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_every_objective(make_config, method, objective):
    config = make_config(f"method={method}", f"objective={objective}", "trainer.batch_size=16")
    summary = train(config)
    final = summary["final"]["trained"]["last"]
    assert 0 < final["density/total"] <= 1
    assert math.isfinite(final["test/loss"])
    initial = summary["initial"]["density/total"]
    assert (initial < 0.02) == (method in SPARSE)
    for row in rows(config):
        assert ("lam" in row) == (method not in ("sgd", "adam"))


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        ("cnn", ["model.kernel_size=2", "model.channels=[4,4]", "model.hidden=[8]"]),
        ("resnet18", ["model.width=2"]),
        ("mlp", ["model.hidden=[16]"]),
    ],
)
@pytest.mark.parametrize("layout", ["trainer.channels_last=false", "trainer.channels_last=true"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_network_trains_in_every_precision_and_layout(
    make_config, model, overrides, layout, precision
):
    config = make_config(
        f"model={model}",
        *overrides,
        f"method/penalty={'rows' if model == 'mlp' else 'kernels'}",
        "method.start.by=kernel",
        "method.start.density=0.2",
        "trainer.max_steps=2",
        layout,
        f"trainer.precision={precision}",
    )
    summary = train(config)
    assert summary["steps"] == 2
    weights = read_tensors(run_directory(config).weights)
    assert all(w.dtype != torch.bfloat16 for w in weights.values())


def test_channels_last_reaches_what_layers_make_of_images_of_one_channel(make_config):
    """Whose strides are ambiguous: pooling takes ten times as long where a convolution guesses wrong."""
    config = make_config("model=cnn", "model.kernel_size=2", "trainer.channels_last=true")
    training = Training(config, run_directory(config)).begin()
    seen: list[torch.Tensor] = []
    for name in ("conv1", "pool1", "conv2"):
        layer = training.network.get_submodule(name)
        layer.register_forward_hook(lambda *call: seen.append(call[2]))
    images = torch.rand(4, 1, 8, 8)
    training.network(images)  # the weights alone decide
    training.network(training.context().arrange(images))
    assert len(seen) == 6
    for output in seen:
        assert output.is_contiguous(memory_format=torch.channels_last)
        assert not output.is_contiguous()


def test_max_steps_ends_the_run_early_and_a_second_call_knows_it(make_config):
    config = make_config("trainer.max_steps=15", "trainer.epochs=50")
    summary = train(config)
    assert (summary["steps"], summary["epochs"]) == (15, 2)
    assert [row["epoch"] for row in rows(config)] == [1, 2]


def test_zero_epochs_judge_the_initial_network(make_config):
    summary = train(make_config("trainer.epochs=0"))
    final = summary["final"]["trained"]
    same = final["last"].keys() - TIMES
    assert all(final["last"][key] == final["best"][key] for key in same)
    assert final["last"]["density/total"] == pytest.approx(summary["initial"]["density/total"])


def test_best_is_the_latest_epoch_with_the_best_validation_accuracy(make_config, monkeypatch):
    measure = Training._measure
    accuracies = [0.2, 0.5, 0.5, 0.1]

    def scripted(self: Training) -> dict[str, float]:
        epoch = self.position.epochs
        return measure(self) | {"validation/accuracy": accuracies[epoch - 1] if epoch else 0.0}

    monkeypatch.setattr(Training, "_measure", scripted)
    config = make_config("method=sgd", "trainer.epochs=4")
    summary = train(config)
    assert summary["best"] == {"epoch": 3, "value": 0.5}
    norms = [row["l1_norm"] for row in rows(config)]
    assert len(set(norms)) == 4
    final = summary["final"]["trained"]
    assert final["best"]["l1_norm"] == pytest.approx(norms[2])
    assert final["last"]["l1_norm"] == pytest.approx(norms[3])


def test_linbreg_without_penalty_is_sgd(make_config):
    dense = (
        "method.start.density=1",
        "method.start.weights=default",
        "method.start.biases=default",
    )
    sgd = make_config("method=sgd")
    linbreg = make_config("method=linbreg", "method/penalty=l1", "method.lam=0", *dense)
    train(sgd)
    train(linbreg)
    for ours, theirs in zip(rows(linbreg), rows(sgd), strict=True):
        for key in ("train/loss", "validation/loss", "l1_norm"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-4)


def test_same_seed_same_curve_and_other_seed_another(make_config):
    first = make_config("experiment_name=a")
    again = make_config("experiment_name=b")
    other = make_config("experiment_name=c", "seed=1")
    for config in (first, again, other):
        train(config)
    assert rows(first) == rows(again)
    assert rows(first)[0]["train/loss"] != rows(other)[0]["train/loss"]


def test_two_seeds_see_the_same_validation_images(make_config):
    config, other = make_config("seed=0"), make_config("seed=1")
    one = Training(config, run_directory(config)).begin().data.validation
    two = Training(other, run_directory(other)).begin().data.validation
    assert torch.equal(one.images, two.images)


def test_method_does_not_change_the_network_that_it_starts_from(make_config):
    """Streams are apart: the dense networks of two methods start from the same weights."""
    networks = [
        Training(config, run_directory(config)).begin().network.state_dict()
        for config in (make_config("method=sgd"), make_config("method=adam"))
    ]
    assert all(torch.equal(networks[0][key], networks[1][key]) for key in networks[0])


def test_streams_are_independent_and_restorable():
    streams = Streams(0)
    first = torch.rand(3, generator=streams.generator("a"))
    assert not torch.equal(first, torch.rand(3, generator=streams.generator("b")))
    assert derive_seed(0, "a") != derive_seed(1, "a")
    state = streams.state_dict()
    expected = torch.rand(3, generator=streams.generator("a")), torch.rand(3)
    streams.load_state_dict(state)
    assert torch.equal(torch.rand(3, generator=streams.generator("a")), expected[0])
    assert torch.equal(torch.rand(3), expected[1])


def test_scope_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with Streams(5).scope("model"):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with Streams(5).scope("model"):
        assert torch.equal(torch.rand(2), inside)


def test_metrics_have_one_line_an_epoch_with_the_documented_keys(make_config):
    config = make_config()
    train(config)
    lines = run_directory(config).metrics.read_text().splitlines()
    assert len(lines) == 3
    keys = set(json.loads(lines[0]))
    assert keys >= {
        "epoch",
        "phase",
        "train/loss",
        "train/accuracy",
        "validation/loss",
        "validation/accuracy",
        "density/total",
        "density/linear",
        "density/parameters",
        "active_units/linear1",
        "l1_norm",
        "lr",
        "lam",
        "seconds",
    }


def test_summary_says_where_the_numbers_come_from(make_config):
    summary = train(make_config())
    assert summary["versions"]["torch"] == torch.__version__.split("+")[0]
    assert summary["samples"] == {"train": 1262, "validation": 180, "test": 355}
    assert summary["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    cost = summary["final"]["trained"]["last"]
    assert cost["cost/macs"] == 64 * 16 + 16 * 10
    assert cost["cost/effective_macs"] < 0.5 * cost["cost/macs"]


@pytest.mark.parametrize("target", [0.05, 0.3])
@pytest.mark.parametrize("method", ["linbreg", "adabreg"])
def test_target_density_is_reached_from_either_side(make_config, method, target):
    config = make_config(
        f"method={method}",
        "model.hidden=[64]",
        f"method.target_density={target}",
        "method.lam=0.1",
        "trainer.batch_size=16",
        "trainer.epochs=20",
    )
    summary = train(config)
    assert summary["notes"] == []
    density = summary["final"]["trained"]["last"]["density/total"]
    assert abs(density / target - 1) <= TOLERANCE
    assert len({row["lam"] for row in rows(config)}) > 1


def test_missed_target_density_is_said(make_config, capsys):
    config = make_config("method.target_density=0.5", "method.lam=10", "trainer.max_steps=3")
    summary = train(config)
    assert "target density not reached" in summary["notes"][0]
    assert "target density not reached" in capsys.readouterr().err


def test_best_epoch_is_chosen_on_test_images_on_request_only(make_config):
    config = make_config("method=adam", "trainer.epochs=4", "trainer.select_on=test")
    summary = train(config)
    rows = run_directory(config).read_metrics()
    scores = [row["test/accuracy"] for row in rows]
    assert summary["best"]["value"] == max(scores)
    assert summary["best"]["epoch"] == max(n for n, s in enumerate(scores, 1) if s == max(scores))
    assert "chosen on test images" in summary["notes"][-1]
    default = make_config("method=adam", "trainer.epochs=4")
    assert default.hashed_name != config.hashed_name
    assert train(default)["notes"] == []
    assert "test/accuracy" not in run_directory(default).read_metrics()[0]


def test_rule_without_strength_reports_no_lam(make_config):
    config = make_config("method=linbreg", "method.penalty.linear.scale=0", "trainer.epochs=1")
    train(config)
    assert "lam" not in run_directory(config).read_metrics()[0]


def test_glorot_leaves_modes_as_their_layers_draw_them(make_config):
    plain, glorot = (
        make_config("model=fno", "model.modes=3", "method=sgd", *more, "trainer.epochs=0")
        for more in ([], ["method.start.weights=glorot"])
    )
    first, second = ((train(c), read_tensors(run_directory(c).weights))[1] for c in (plain, glorot))
    assert torch.equal(first["conv1.weight"], second["conv1.weight"])
    assert not torch.equal(first["linear1.weight"], second["linear1.weight"])
