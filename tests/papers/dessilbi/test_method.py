"""DessiLBI on the bench: its groups, what is measured, judged, traced, and exact resuming."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import read_tensors
from bregbench.methods.backprop import Backprop
from bregbench.papers.dessilbi.method import SplitTraining
from bregbench.runs.train import run_directory, train
from bregbench.training.trainer import Training

NETWORK = ("model=cnn", "model.channels=[6,5]", "model.kernel_size=2", "model.hidden=[8]")
#: after four steps the norms of V lie around this lam: some filters are selected
ACTIVE = ("method.nu=1", "method.lam=0.11", "method.lr=0.05", "data.limit=256")


@pytest.fixture
def make(make_config):
    def build(*overrides: str):
        return make_config(*NETWORK, "trainer.epochs=2", "evaluators=[density]", *overrides)

    return build


def weights(config) -> dict[str, torch.Tensor]:
    return read_tensors(run_directory(config).weights)


@pytest.mark.parametrize("kind", ["dessilbi", "dessilbi_momentum", "dessilbi_momentum_wd"])
def test_with_loose_coupling_it_is_sgd(make, kind):
    """nu -> infinity: W never feels Gamma, and the decay of vectors is the only difference."""
    split = make(f"method={kind}", "method.nu=1e12", "method.decay_vectors=true", "data.limit=512")
    momentum, decay = 0.9 * ("momentum" in kind), 1e-4 * ("wd" in kind)
    plain = make(
        "method=sgd",
        f"method.momentum={momentum}",
        f"method.weight_decay={decay}",
        "data.limit=512",
    )
    assert train(split)["final"]["gamma"]["last"]["density/total"] == 0.0
    assert any("Gamma is empty" in note for note in train(split)["notes"])
    train(plain)
    ours, theirs = weights(split), weights(plain)
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)


def test_vectors_are_not_decayed_unless_asked(make):
    for given, wanted in (("false", 0.0), ("true", 1e-4)):
        config = make("method=dessilbi_momentum_wd", f"method.decay_vectors={given}")
        method = Training(config, run_directory(config)).begin().method
        assert isinstance(method, SplitTraining)
        group = method.optimizer.group_of
        assert group(method.network.get_parameter("conv1.bias"))["weight_decay"] == wanted
        assert group(method.network.get_parameter("conv1.weight"))["weight_decay"] == 1e-4
        assert group(method.network.get_parameter("conv1.weight"))["penalty"] == "l12"
        assert group(method.network.get_parameter("linear1.weight"))["penalty"] == "l1"


def test_support_is_measured_judged_and_traced(make):
    config = make("method=dessilbi_momentum", "method.trace=conv2", "method.path=true", *ACTIVE)
    summary = train(config)
    rows = run_directory(config).read_metrics()
    last = rows[-1]
    found = {key: value for key, value in last.items() if key.startswith("gamma_density/")}
    assert set(found) == {
        f"gamma_density/{part}" for part in ("total", "conv1", "conv2", "linear1", "linear2")
    }
    assert 0 < found["gamma_density/total"] < 1
    assert 0 < found["gamma_density/conv2"] < 1
    for variant in ("gamma", "masked"):
        density = summary["final"][variant]["last"]["density/total"]
        assert density == pytest.approx(found["gamma_density/total"])
    assert summary["final"]["trained"]["last"]["density/total"] == 1.0
    judged = {variant: set(final) for variant, final in summary["final"].items()}
    both = {"best", "last"}
    at_last = both if summary["best"]["epoch"] == summary["epochs"] else {"last"}
    assert judged == {"trained": both, "gamma": at_last, "masked": at_last}

    traces = load_file(run_directory(config).traces)
    norms = {name: traces[f"dessilbi/{name}"] for name in ("weights", "duals", "gammas")}
    assert {norm.shape for norm in norms.values()} == {(3, 5)}
    weight = weights(config)["conv2.weight"].flatten(1).norm(dim=1)
    torch.testing.assert_close(norms["weights"][-1], weight)
    assert norms["duals"][0].count_nonzero() == 0
    # Gamma = kappa max(0, 1 - lam / |V|) V, filter by filter.
    torch.testing.assert_close(norms["gammas"], (norms["duals"] - 0.11).clamp(min=0))
    share = float((norms["gammas"][-1] > 0).float().mean())
    assert share == pytest.approx(found["gamma_density/conv2"])


def test_gamma_of_the_last_epoch_is_not_put_beside_an_earlier_best(make):
    config = make("method=dessilbi", "method.lr=20", "method.nu=1e6", "data.limit=64")
    config.trainer.epochs = 3
    summary = train(config)
    assert summary["best"]["epoch"] < summary["epochs"]  # so large a step makes it worse
    assert set(summary["final"]["masked"]) == {"last"}
    assert set(summary["final"]["trained"]) == {"best", "last"}


def test_resume_is_exact(make, train_killed):
    def config(name: str):
        return make(
            "method=dessilbi_momentum_wd",
            "method.trace=conv1",
            "method.path=true",
            "trainer.checkpoint_minutes=1e-9",
            f"experiment_name={name}",
            *ACTIVE,
        )

    train(config("whole"))

    train_killed(config("killed"), saves=4)  # one step into the second epoch
    whole, killed = weights(config("whole")), weights(config("killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    whole, killed = (load_file(run_directory(config(name)).traces) for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    for key in ("gamma_density/total", "gamma_density/conv1", "train/loss"):
        rows = [
            [row[key] for row in run_directory(config(name)).read_metrics()]
            for name in ("whole", "killed")
        ]
        assert rows[0] == rows[1]


def test_only_some_layers_may_carry_gamma(make):
    rules = "[{kind:none,name:conv1.weight},{kind:none,name:linear2.weight}]"
    config = make("method=dessilbi", f"method.penalty.first={rules}", *ACTIVE)
    train(config)
    keys = {key for key in run_directory(config).read_metrics()[-1] if "gamma_density" in key}
    assert keys == {f"gamma_density/{part}" for part in ("total", "conv2", "linear1")}
    with pytest.raises(BenchError, match=r"method\.trace=conv1 has no Gamma .* conv2, linear1"):
        train(make("method=dessilbi", f"method.penalty.first={rules}", "method.trace=conv1"))


@pytest.mark.parametrize(
    "override",
    ["method.nu=0", "method.kappa=-1", "method.lam=-0.1", "method.nesterov=true"],
)
def test_values_out_of_range_are_one_line(make, override):
    with pytest.raises(BenchError, match=override.partition("=")[0].removeprefix("method.")):
        train(make("method=dessilbi", override))


@pytest.mark.parametrize("kind", ["amsgrad", "adagrad", "radam"])
def test_adaptive_baselines_learn(make_config, kind):
    config = make_config(f"method={kind}", "method.lr=0.01", "trainer.batch_size=16")
    final = train(config)["final"]["trained"]["last"]
    assert final["test/accuracy"] > 0.5
    method = Training(config, run_directory(config)).begin().method
    assert isinstance(method, Backprop)
    built = method.optimizer
    assert type(built).__name__.lower() == {"amsgrad": "adam"}.get(kind, kind)
    assert built.defaults.get("amsgrad", False) == (kind == "amsgrad")


def test_constant_schedule_may_lower_the_rate(make):
    config = make("method=dessilbi", "trainer.schedule.factor=0.1", "data.limit=64")
    train(config)
    assert [row["lr"] for row in run_directory(config).read_metrics()] == pytest.approx([0.01] * 2)
