"""W&B mirrors a run, and whatever goes wrong with it the run goes on."""

from __future__ import annotations

import contextlib
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


@pytest.fixture(autouse=True)
def _server_answers(monkeypatch):
    """No test asks a server, and none sees the account of whoever runs it."""
    monkeypatch.setattr("socket.create_connection", lambda *a, **options: contextlib.nullcontext())
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)


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


@pytest.mark.parametrize(
    ("host", "server", "mode"),
    [
        (None, None, "offline"),
        ("{default}", None, "online"),
        ("elsewhere.org", None, "offline"),
        ("{default}", "https://elsewhere.org", "offline"),
        ("elsewhere.org", "https://elsewhere.org", "online"),
        ("elsewhere.org:8080", "http://elsewhere.org:8080", "online"),
    ],
)
def test_the_server_of_the_client_decides_who_is_logged_in(
    make_config, fake_wandb, monkeypatch, tmp_path, host, server, mode
):
    default = wandb.Settings().base_url.partition("://")[2]
    if host is not None:
        text = f"machine {host.format(default=default)} login user password {'x' * 40}\n"
        (tmp_path / "netrc").write_text(text)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    if server is not None:
        monkeypatch.setenv("WANDB_BASE_URL", server)
    modes = []
    fake_wandb(lambda **given: [modes.append(given["mode"]), FakeRun()][1])
    train(make_config("tracking=wandb", "trainer.epochs=1"))
    assert modes == [mode]


def test_server_that_does_not_answer_costs_seconds_and_one_line(
    make_config, fake_wandb, monkeypatch, capsys
):
    asked = []

    def refuse(address, timeout):
        asked.append((address, timeout))
        raise TimeoutError

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("bregbench.storage.tracking.getproxies", dict)
    monkeypatch.setenv("WANDB_API_KEY", "x")
    monkeypatch.setenv("WANDB_BASE_URL", "http://elsewhere.org:8080")
    given = {}
    fake_wandb(lambda **arguments: [given.update(arguments), FakeRun()][1])
    train(make_config("tracking=wandb", "trainer.epochs=1"))
    assert asked == [(("elsewhere.org", 8080), 5)]
    assert given["mode"] == "offline"
    assert given["settings"]["init_timeout"] == 5
    said = [line for line in capsys.readouterr().err.splitlines() if "tracking" in line]
    assert len(said) == 1
    assert "elsewhere.org does not answer" in said[0]


@pytest.mark.parametrize(("first", "shown"), [(0, [1, 2, 3]), (2, [2, 3]), (3, [3])])
def test_resumed_run_mirrors_what_the_mirror_has_not_seen(
    make_config, fake_wandb, monkeypatch, first, shown
):
    """Step 0 begins the files of an offline run; a server says which step comes next."""
    monkeypatch.setenv("WANDB_API_KEY", "x")
    run = FakeRun()
    run.starting_step = first  # type: ignore[attr-defined]
    config = make_config("tracking=wandb")
    fake_wandb(lambda **given: FakeRun())

    class Killed(BaseException):
        pass

    with monkeypatch.context() as patched:
        log = FakeRun.log

        def dying(self, row, step):
            log(self, row, step)
            if step == 2:
                raise Killed

        patched.setattr(FakeRun, "log", dying)
        with pytest.raises(Killed):
            train(config)
    fake_wandb(lambda **given: run)
    train(config)
    assert [row["epoch"] for row in run.rows] == shown
