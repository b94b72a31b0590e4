"""Exported networks, and what is left of sparse ones when units that they do not need are gone."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from bregbench import load_run
from bregbench.cli import export
from bregbench.evaluators import Compaction, Cost
from bregbench.evaluators.compacting import compacted
from bregbench.foundations.errors import BenchError
from bregbench.runs import export as exporting
from bregbench.runs.evaluate import evaluate
from bregbench.runs.train import run_directory, train

CNN = ("model=cnn", "model.channels=[6,5]", "model.kernel_size=2", "model.hidden=[8]")


@pytest.fixture
def trained(make_config, capsys):
    """The directory of a finished run of two steps."""

    def run(*overrides: str) -> Path:
        config = make_config("trainer.epochs=1", "trainer.max_steps=2", *overrides)
        train(config)
        capsys.readouterr()
        return run_directory(config).path

    return run


@pytest.mark.parametrize("normalise", ["channel", "half"])
def test_a_file_gives_the_network_without_this_library(trained, call, tmp_path, normalise):
    path = trained("method=linbreg", "method.lam=1", f"data.normalise={normalise}", *CNN)
    code, out, _ = call(export, f"run={path}", "output=small.pt2")
    assert code == 0
    assert "as trained" in out
    assert "compacted" in out
    assert "differ by at most" in out
    assert "(batch, 1, 8, 8)" in out
    program = torch.export.load(tmp_path / "small.pt2")
    network: Any = load_run(path)
    for batch in (1, 7):
        images = torch.rand(batch, 1, 8, 8)
        with torch.no_grad():
            torch.testing.assert_close(program.module()(images), network(images))
    assert sum(p.numel() for p in program.parameters()) < sum(
        p.numel() for p in network.parameters()
    )


def test_networks_that_cannot_be_followed_are_exported_as_they_are(trained, call, tmp_path):
    path = trained("model=fno", "model.modes=3", "method=adam")
    code, _, err = call(export, f"run={path}")
    assert code == 1
    assert "units of this network cannot be removed" in err
    assert "compact=false exports it as it is" in err
    code, out, _ = call(export, f"run={path}", "compact=false")
    assert code == 0
    assert "compacted" not in out
    assert (tmp_path / "network.pt2").is_file()


def test_mistakes_are_one_line_and_keep_what_is_there(trained, call, tmp_path):
    path = trained("method=sgd")
    (tmp_path / "there.pt2").write_bytes(b"precious")
    for arguments, says in (
        ([], "run= is missing"),
        ([f"run={tmp_path}/no"], "no run there"),
        ([f"run={path}", "output=there.pt2"], "output=there.pt2 exists: give another name"),
        ([f"run={path}", "output=net.pkl"], "must be *.pt2 or *.onnx"),
        ([f"run={path}", "variant=thresholded"], "this run has trained"),
    ):
        code, _, err = call(export, *arguments)
        assert code == 1
        assert says in err
        assert len(err.splitlines()) == 1
    assert (tmp_path / "there.pt2").read_bytes() == b"precious"
    code, _, _ = call(export, f"run={path}", "output=there.pt2", "overwrite=true")
    assert code == 0


@pytest.mark.skipif(
    importlib.util.find_spec("onnxscript") is not None, reason="the packages are installed"
)
def test_onnx_says_what_it_needs(trained, call):
    code, _, err = call(export, f"run={trained('method=sgd')}", "output=network.onnx")
    assert code == 1
    assert "pip install 'bregbench[onnx]'" in err


@pytest.mark.skipif(
    any(importlib.util.find_spec(n) is None for n in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra `onnx`",
)
def test_onnx_files_compute_the_same(trained, call, tmp_path):
    code, out, _ = call(export, f"run={trained('method=linbreg', *CNN)}", "output=network.onnx")
    assert code == 0
    assert "differ by at most" in out
    assert (tmp_path / "network.onnx").stat().st_size > 0


def test_evaluator_measures_what_is_left(make_config):
    config = make_config("method=linbreg", "method.lam=1", "trainer.max_steps=2", *CNN)
    train(config)
    network, data = load_run(run_directory(config).path), config.data.build(torch.device("cpu"))
    found = evaluate(network, data, [Compaction(batch_size=2, repeats=1), Cost(repeats=1)])
    assert found["compact/macs_left"] == found["compact/macs"] / found["cost/macs"] < 1
    assert found["compact/parameters"] < found["cost/parameters"]
    assert found["compact/parameters"] == sum(
        parameter.numel() for parameter in compacted(network, data.input_shape).parameters()
    )
    assert found["compact/speedup"] > 0


def test_a_file_that_computes_something_else_is_not_written(monkeypatch, tmp_path):
    network = torch.nn.Linear(3, 2)
    monkeypatch.setitem(exporting._WRITERS, ".pt2", lambda *_: (b"wrong", lambda x: network(x) + 1))
    with pytest.raises(BenchError, match="not written, its outputs would be off by 1"):
        exporting.write_network(network, tmp_path / "net.pt2", (3,))
    assert not list(tmp_path.iterdir())


def test_evaluator_does_not_hide_that_outputs_have_changed(make_config, monkeypatch):
    config = make_config()
    network = config.model.build(input_shape=(1, 8, 8), classes=10)
    data = config.data.build(torch.device("cpu"))
    other = config.model.build(input_shape=(1, 8, 8), classes=10)
    monkeypatch.setattr("bregbench.evaluators.compacting.compact", lambda _: other)
    with pytest.raises(ValueError, match="removal changed the outputs"):
        evaluate(network, data, [Compaction()])


def test_evaluator_leaves_out_what_it_cannot_follow(make_config, capsys):
    config = make_config("model=fno", "model.modes=3")
    network = config.model.build(input_shape=(1, 8, 8), classes=10)
    data = config.data.build(torch.device("cpu"))
    assert evaluate(network, data, [Compaction()]) == {}
    assert (
        "leaves out this network: units of this network cannot be removed"
        in capsys.readouterr().err
    )
    with pytest.raises(BenchError, match=r"compaction\.repeats=0 is out of range"):
        evaluate(network, data, [Compaction(repeats=0)])
