"""Offline runs of W&B are found and brought one by one; a fake stands for the client."""

from __future__ import annotations

from pathlib import Path

import pytest

from bregbench.cli import runs
from bregbench.foundations.errors import BenchError
from bregbench.storage.syncing import offline_runs, sync

CLIENT = """
import pathlib, sys
(command, path) = sys.argv[1:]
assert command == "sync"
if "broken" in path:
    sys.exit("the server said no")
with open("log", "a") as log:
    print(path, file=log)
(pathlib.Path(path) / "run.wandb.synced").touch()
"""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch) -> list[Path]:
    """Three folders of a sweep, one of them synced already, and a client that only takes notes."""
    (tmp_path / "fake" / "wandb").mkdir(parents=True)
    (tmp_path / "fake" / "wandb" / "__init__.py").touch()
    (tmp_path / "fake" / "wandb" / "__main__.py").write_text(CLIENT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.setattr("bregbench.storage.syncing.unreachable", lambda: None)
    monkeypatch.chdir(tmp_path)
    folders = [
        tmp_path
        / "runs"
        / "sweep"
        / f"mnist-mlp-sgd-0{k}0000000"
        / "seed0"
        / "wandb"
        / f"offline-run-{k}-x"
        for k in range(3)
    ]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "run.wandb").touch()
    (folders[1] / "run.wandb.synced").touch()
    (folders[0].parent / "run-online").mkdir()
    return folders


def test_every_offline_run_is_synced_once(call, kept, tmp_path):
    code, _, err = call(runs, "sync", "runs")
    assert code == 0
    assert err.splitlines()[-1] == "synced: 2 offline runs of W&B"
    synced = (tmp_path / "log").read_text().splitlines()
    assert synced == [str(kept[i].relative_to(tmp_path)) for i in (0, 2)]
    assert call(runs, "sync", "runs")[2] == "synced: 0 offline runs of W&B\n"


def test_dry_run_brings_nothing(call, kept, tmp_path):
    _, _, err = call(runs, "sync", "runs", "dry_run=true")
    assert "to sync: 2 offline runs of W&B" in err
    assert not (tmp_path / "log").exists()


def test_a_client_that_fails_is_one_line(call, kept, tmp_path):
    kept[2].rename(kept[2].with_name("offline-run-broken"))
    code, _, err = call(runs, "sync", "runs")
    assert code == 1
    assert "was not synced: the server said no; log in with `wandb login`" in err.splitlines()[-1]
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_a_server_that_does_not_answer_is_one_line(call, kept, tmp_path, monkeypatch):
    monkeypatch.setattr("bregbench.storage.syncing.unreachable", lambda: "api.wandb.ai")
    code, _, err = call(runs, "sync", "runs")
    assert code == 1
    assert err == "error: api.wandb.ai does not answer: give the same command again when it does\n"
    assert not (tmp_path / "log").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BenchError, match=r"runs=.*nowhere is not a folder"):
        offline_runs([str(tmp_path / "nowhere")])


def test_a_missing_client_is_named(tmp_path, monkeypatch):
    (tmp_path / "wandb.py").write_text("raise SystemExit('no such module')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(BenchError, match="install wandb"):
        sync(tmp_path)
