"""Training from Python is training from the command line: the same run, resumed, measured and named."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import bregbench
from bregbench.data import Digits
from bregbench.foundations.errors import BenchError
from bregbench.models import Mlp
from bregbench.papers.bregman import LinBreg
from bregbench.runs.experiment import Trained
from bregbench.runs.train import run_directory, train
from tests.places import ROOT, without_times


def make(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(input_shape[1] ** 2, 16), nn.ReLU(), nn.Linear(16, classes)
    )


def pair() -> tuple[TensorDataset, TensorDataset]:
    raw = Digits().load()
    parts = [
        TensorDataset(torch.from_numpy(part.images) / 255, torch.from_numpy(part.labels))
        for part in (raw.train, raw.test)
    ]
    return parts[0], parts[1]


@pytest.fixture
def trained(tmp_path):
    """Train shortly below the test's own folder."""

    def run(network, data="digits", **options) -> Trained:
        options = {"epochs": 2, "overrides": ["trainer.device=cpu"], **options}
        return bregbench.train(network, data, runs_dir=tmp_path / "runs", **options)

    return run


def test_it_is_the_run_of_the_command_line(trained, make_config):
    config = make_config(
        "model=custom",
        f"model.factory={__name__}:make",
        "method=linbreg",
        "method.lam=0.3",
        "method/penalty=rows",
        "trainer.epochs=2",
    )
    train(config)
    metrics = run_directory(config).read_metrics()
    method = {"name": "linbreg", "lam": 0.3, "penalty": "rows"}
    result = trained(make, method=method)
    assert result.directory == run_directory(config).path
    assert result.metrics == metrics, "it returned at once what was there"
    expected = bregbench.load_run(result.directory)
    for ours, theirs in zip(result.network.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_module_is_trained_from_its_weights_and_left_alone(trained):
    network = make((1, 8, 8), 10)
    before = [p.detach().clone() for p in network.parameters()]
    result = trained(network, method={"name": "sgd", "lr": 0.0})
    after = list(result.network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    moved = trained(network, method="sgd")
    assert not torch.equal(before[0], next(iter(moved.network.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    again = trained(network, method="sgd")
    assert again.summary["finished"] == moved.summary["finished"]
    with torch.no_grad():
        next(network.parameters()).add_(1)
    assert trained(network, method="sgd").directory != moved.directory


def test_functions_that_no_module_holds_are_named_by_what_they_build(trained):
    def of_width(width: int):
        return lambda classes: nn.Sequential(
            nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, classes)
        )

    first, second = trained(of_width(3)), trained(of_width(4))
    assert first.directory != second.directory
    assert trained(of_width(3)).summary["finished"] == first.summary["finished"]
    shapes = [[tuple(p.shape) for p in run.network.parameters()] for run in (first, second)]
    assert shapes[0][0] == (3, 64)
    assert shapes[1][0] == (4, 64)


def test_data_in_any_form_are_the_same_run(trained):
    train_set, test_set = pair()
    tensors = {"train": train_set.tensors, "test": test_set.tensors}
    arrays = {
        f"{name}_{kind}": part.numpy()
        for name, tensors_ in tensors.items()
        for kind, part in zip(("images", "labels"), tensors_, strict=True)
    }
    runs = [trained(make, data, method="sgd") for data in (pair(), tensors, arrays, pair)]
    assert (
        len({json.dumps(run.summary["final"]["trained"]["last"]["test/accuracy"]) for run in runs})
        == 1
    )
    prints = {run.summary["fingerprints"]["data"] for run in runs}
    assert len(prints) == 1


def test_data_of_the_bench_keep_their_splits(trained):
    built = Digits().build(torch.device("cpu"))
    runs = [trained(make, data, method="sgd") for data in (built, Digits(), "digits")]
    expected = {"train": 1262, "validation": 180, "test": 355}
    assert [run.summary["samples"] for run in runs] == 3 * [expected]
    means = [run.network.get_buffer("normalize.mean") for run in runs]
    assert torch.equal(means[0], means[1])
    assert runs[1].directory == runs[2].directory


def test_dataclasses_and_names_are_the_same_choice(trained):
    ours = trained(
        Mlp(hidden=[8]), method=LinBreg(lam=0.2), objective={"name": "lasso", "lam": 1e-3}
    )
    theirs = trained(
        {"name": "mlp", "hidden": [8]},
        method={"name": "linbreg", "lam": 0.2},
        overrides=["trainer.device=cpu", "objective=lasso", "objective.lam=1e-3"],
    )
    assert ours.directory == theirs.directory


def test_a_killed_call_goes_on(trained, monkeypatch):
    from bregbench.training.trainer import Training

    whole = trained(make, pair(), epochs=3, experiment_name="whole")
    save = Training.save

    def dying_save(self: Training) -> None:
        save(self)
        if self.position.epochs == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Training, "save", dying_save)
        with pytest.raises(KeyboardInterrupt):
            trained(make, pair(), epochs=3, experiment_name="killed")
    resumed = trained(make, pair(), epochs=3, experiment_name="killed")
    assert without_times(resumed.metrics) == without_times(whole.metrics)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": 3}, r"network=3 is int: give a torch\.nn\.Module"),
        ({"data": 3}, r"data is int and must be a pair \(train, test\)"),
        ({"method": {"lam": 1}}, r"method=.* is no option: give a name \(adabreg, "),
        ({"method": {"name": "linbreg", "lam": -1.0}}, r"^method\.lam=-1\.0 is out of range"),
        ({"method": LinBreg(lam=-1.0)}, r"^method\.lam=-1\.0 is out of range"),
        ({"epochs": -1}, r"^trainer\.epochs=-1 is out of range"),
        ({"method": LinBreg(), "overrides": ["method.lam=2"]}, r"method\.lam=2 changes what was"),
    ],
)
def test_wrong_values_are_refused(trained, options, message):
    with pytest.raises(BenchError, match=message):
        trained(**{"network": make, **options})


def test_the_network_of_an_object_is_asked_for_again_in_another_process(trained):
    result = trained(make((1, 8, 8), 10), method="sgd")
    code = f"import bregbench; bregbench.load_run({str(result.directory)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "was an object of another Python process: hand it over again" in done.stderr


def test_the_package_is_imported_without_torch():
    code = "import sys, bregbench; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
