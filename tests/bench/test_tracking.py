"""W&B mirrors a run, and whatever goes wrong with it the run goes on."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from bregbench.runs.train import train

wandb = pytest.importorskip("wandb")


class FakeRun:
    def __init__(self, log_fails: bool = False) -> None:
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.finished = False
        self._log_fails = log_fails

    def log(self, row: dict[str, Any], step: int) -> None:
        if self._log_fails:
            raise RuntimeError("server is gone")
        assert step == row["epoch"]
        self.rows.append(row)

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def fake_wandb(monkeypatch):
    """Replace the package by one whose `init` is scripted."""

    def install(init) -> None:
        module = types.ModuleType("wandb")
        module.__spec__ = wandb.__spec__
        module.init = init  # type: ignore[attr-defined]
        module.Settings = lambda **settings: settings  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "wandb", module)

    return install


def test_run_is_mirrored(make_config, fake_wandb, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "x")
    run, arguments = FakeRun(), {}

    def init(**given):
        arguments.update(given)
        return run

    fake_wandb(init)
    summary = train(make_config("tracking=wandb", "experiment_name=mirrored"))
    assert [row["epoch"] for row in run.rows] == [1, 2, 3]
    assert (
        run.summary["final/trained/last/test/accuracy"]
        == (summary["final"]["trained"]["last"]["test/accuracy"])
    )
    assert run.finished
    assert arguments["mode"] == "online"
    assert arguments["group"] == "mirrored"
    assert arguments["config"]["method"]["kind"] == "linbreg"


def test_no_key_means_offline(make_config, fake_wandb, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    modes = []

    def init(**given):
        modes.append(given["mode"])
        return FakeRun()

    fake_wandb(init)
    train(make_config("tracking=wandb"))
    assert modes == ["offline"]
    assert capsys.readouterr().err.count("W&B is offline") == 1


def test_failing_start_does_not_stop_a_run(make_config, fake_wandb, capsys):
    def init(**given):
        raise RuntimeError("no server")

    fake_wandb(init)
    assert train(make_config("tracking=wandb"))["epochs"] == 3
    assert "W&B did not start (no server)" in capsys.readouterr().err


def test_failing_log_does_not_stop_a_run(make_config, fake_wandb, capsys):
    run = FakeRun(log_fails=True)
    fake_wandb(lambda **given: run)
    assert train(make_config("tracking=wandb"))["epochs"] == 3
    assert capsys.readouterr().err.count("W&B stopped (server is gone)") == 1


def test_missing_package_does_not_stop_a_run(make_config, monkeypatch, capsys):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else find(name, *a)
    )
    assert train(make_config("tracking=wandb"))["epochs"] == 3
    assert "wandb is not installed" in capsys.readouterr().err


@pytest.mark.slow
def test_real_wandb_writes_an_offline_run(make_config, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = make_config("tracking=wandb")
    train(config)
    from bregbench.runs.train import run_directory

    assert list(run_directory(config).tracking.rglob("*.wandb"))
