"""A run that is killed, interrupted or started twice ends like one that was left alone."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bregbench.evaluators import Density
from bregbench.foundations.errors import BenchError, Interrupted
from bregbench.foundations.files import write_json
from bregbench.foundations.identity import to_plain
from bregbench.runs.evaluate import evaluate_run
from bregbench.runs.train import run_directory, train
from bregbench.storage.directory import RunDirectory
from bregbench.training.trainer import Training
from tests.places import ROOT, without_times

OVERRIDES = (
    "dataset=digits",
    "model=mlp",
    "trainer.batch_size=16",
    "trainer.epochs=12",
    "trainer.device=cpu",
    "tracking=none",
)


def command(runs_dir: Path, *overrides: str) -> list[str]:
    script = ROOT / "scripts" / "train.py"
    return [sys.executable, str(script), *OVERRIDES, f"runs_dir={runs_dir}", *overrides]


def metrics(directory: RunDirectory) -> list[dict]:
    return without_times(directory.read_metrics())


def final(directory: RunDirectory) -> dict:
    found = directory.read_summary()["final"]["trained"]
    return {selection: without_times([each])[0] for selection, each in found.items()}


def only_run(runs_dir: Path) -> RunDirectory:
    (path,) = (p.parent for p in runs_dir.rglob("config.json"))
    return RunDirectory(path)


#: A training that kills itself, as by a lack of memory, when a function has been called so often: no
#: process has to be watched, so that the machine may be as slow as it likes.
DYING = """
import importlib, os, signal, sys

module, owner, name, calls = sys.argv.pop(1).split(":")
owner = getattr(importlib.import_module(module), owner)
whole, left = getattr(owner, name), int(calls)

def dying(*arguments):
    global left
    whole(*arguments)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, dying)
from bregbench.cli.train import main
main()
"""
#: after the metrics of the first epoch, which has no checkpoint; between epochs; within one (79 steps each)
DEATHS = (
    "bregbench.storage.directory:RunDirectory:append_metrics:1",
    "bregbench.training.trainer:Training:save:5",
    "bregbench.foundations.console:EpochProgress:step:200",
)


def die(runs_dir: Path, where: str, *overrides: str) -> None:
    arguments = command(runs_dir, *overrides)[2:]
    done = subprocess.run(
        [sys.executable, "-c", DYING, where, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        ("method=linbreg_momentum", "trainer/schedule=cosine"),
        ("method=adabreg", "method.target_density=0.1", "trainer/schedule=plateau"),
    ],
    ids=["momentum-cosine", "target-plateau"],
)
def test_killed_run_ends_like_an_uninterrupted_one(tmp_path, method):
    reference = subprocess.run(
        command(tmp_path / "whole", *method), capture_output=True, text=True, check=False
    )
    assert reference.returncode == 0, reference.stderr
    for where in DEATHS:
        die(tmp_path / "killed", where, *method)
        assert not only_run(tmp_path / "killed").complete
    subprocess.run(command(tmp_path / "killed", *method), check=True, capture_output=True)
    whole, killed = only_run(tmp_path / "whole"), only_run(tmp_path / "killed")
    assert len(metrics(whole)) == 12
    assert metrics(killed) == metrics(whole)
    assert final(killed) == final(whole)


def test_resume_within_an_epoch_is_exact(make_config, monkeypatch):
    config = make_config("trainer.batch_size=16", "trainer.checkpoint_minutes=1e-9")
    whole = make_config("trainer.batch_size=16", "experiment_name=whole")
    train(whole)

    class Killed(BaseException):
        pass

    save, saves = Training.save, []

    def dying_save(self: Training) -> None:
        save(self)
        saves.append(self.position.steps)
        if len(saves) == 100:  # 79 steps an epoch, so this is in the middle of the second
            raise Killed

    monkeypatch.setattr(Training, "save", dying_save)
    with pytest.raises(Killed):
        train(config)
    assert saves[-1] % 79 not in (0, 1)
    monkeypatch.setattr(Training, "save", save)
    train(config)
    assert metrics(run_directory(config)) == metrics(run_directory(whole))


def test_complete_run_returns_at_once(make_config):
    config = make_config()
    first = train(config)
    written = run_directory(config).summary.stat().st_mtime_ns
    assert train(config) == first
    assert run_directory(config).summary.stat().st_mtime_ns == written


def test_complete_run_says_what_it_lacks_of_what_is_asked(make_config, capsys):
    config = make_config("trainer.epochs=1", "trainer.snapshots=[0]", "evaluators=[accuracy]")
    train(config)
    path = run_directory(config).path
    notes: list[list[str]] = []
    for more in (
        ["trainer.snapshots=[0,7]", "evaluators=[accuracy]"],  # epoch 7 will never be
        ["trainer.snapshots=[0,1]", "task.top5=true", "evaluators=[accuracy,density]"],
        ["evaluators=[accuracy,feature_maps]", "evaluators.accuracy.train=true"],
    ):
        capsys.readouterr()
        train(make_config("trainer.epochs=1", *more))
        notes.append([line for line in capsys.readouterr().err.splitlines() if "note: " in line])
    evaluate_it = f"bregbench evaluate run={path} evaluators="
    assert notes[0] == []
    assert f"{evaluate_it}[density] does it" in notes[1][0]
    assert (
        f"no trainer.snapshots=[1], task.top5, which only training makes: delete {path}"
        in notes[1][1]
    )
    assert f"{evaluate_it}[accuracy,feature_maps] does it" in notes[2][0]
    assert "no traces of feature_maps, which only training makes" in notes[2][1]


def test_what_was_measured_later_is_not_missing(make_config, capsys):
    config = make_config("trainer.epochs=1", "evaluators=[accuracy]")
    train(config)
    directory = run_directory(config)
    evaluate_run(directory, config, [Density()], selection="last")
    capsys.readouterr()
    train(make_config("trainer.epochs=1", "evaluators=[accuracy,density]"))
    assert "note: " not in capsys.readouterr().err


@pytest.mark.parametrize("complete", [True, False])
def test_directory_of_another_run_of_the_same_hash_is_refused(make_config, complete):
    config = make_config("trainer.epochs=1")
    directory = run_directory(config)
    if complete:
        train(config)
    write_json(directory.config, to_plain(make_config("trainer.epochs=2", "method.lam=3")))
    with pytest.raises(BenchError, match=r"another run, which differs in method, trainer and by"):
        train(config)


def test_config_that_cannot_be_read_stops_no_run(make_config):
    config = make_config("trainer.epochs=1")
    directory = run_directory(config)
    write_json(directory.config, {"of": "another version"})
    assert train(config)["epochs"] == 1
    directory.config.write_text("{")
    assert train(config)["epochs"] == 1


@pytest.mark.slow
def test_second_process_on_a_live_run_refuses_in_one_line(tmp_path):
    endless = command(tmp_path, "trainer.epochs=1000000")
    process = subprocess.Popen(
        endless,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not list(tmp_path.rglob("metrics.jsonl")):
            assert process.poll() is None
            time.sleep(0.005)
        second = subprocess.run(endless, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert len(second.stderr.strip().splitlines()) == 1
        assert f"in use by process {process.pid}" in second.stderr
        # The first goes on undisturbed, and stops when asked to, with its position saved.
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
        assert only_run(tmp_path).read_status()["state"] == "interrupted"
        assert only_run(tmp_path).checkpoint.is_file()
    finally:
        process.kill()
        process.wait()


def test_a_signal_after_the_last_step_leaves_the_final_evaluation_to_the_next_call(
    make_config, monkeypatch
):
    config = make_config("trainer.epochs=2")
    measure = Training._measure

    def interrupted(self: Training) -> dict[str, float]:
        if self.position.epochs == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return measure(self)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_measure", interrupted)
        with pytest.raises(Interrupted, match="SIGTERM"):
            train(config)
    directory = run_directory(config)
    assert directory.state == "interrupted"
    assert len(directory.read_metrics()) == 2
    assert train(config)["epochs"] == 2


def test_a_glance_at_a_run_does_not_keep_it_from_starting(make_config, monkeypatch):
    directory = run_directory(make_config())
    with directory.locked():
        assert directory.live
    with directory.lock.open("r") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # what `live` does
        waited: list[float] = []

        def look_away(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 3:
                fcntl.flock(file, fcntl.LOCK_UN)

        monkeypatch.setattr("bregbench.storage.directory._LOCK_SECONDS", float("inf"))
        monkeypatch.setattr("bregbench.storage.directory.time.sleep", look_away)
        with directory.locked():
            assert directory.live
    assert len(waited) == 3


def test_stale_lock_is_taken_over(make_config):
    config = make_config()
    directory = run_directory(config)
    directory.path.mkdir(parents=True)
    directory.lock.write_text("process 1 on elsewhere since long ago")
    assert train(config)["epochs"] == 3


def test_torn_metrics_line_is_dropped(make_config):
    config = make_config()
    directory = run_directory(config)
    directory.path.mkdir(parents=True)
    directory.metrics.write_text('{"epoch": 1, "a": 1.0}\n{"epoch": 2, "a"')
    assert directory.read_metrics() == [{"epoch": 1, "a": 1.0}]
    train(config)
    lines = directory.metrics.read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udcff"])
def test_damaged_files_are_named_with_what_to_do(make_config, content):
    directory = run_directory(make_config())
    directory.path.mkdir(parents=True)
    for path in (directory.summary, directory.config, directory.status):
        path.write_text(content, errors="surrogateescape")
    directory.metrics.write_text("{\n")
    for read in ("read_summary", "read_config", "read_status", "read_metrics"):
        with pytest.raises(BenchError, match=r"\S+ is damaged .*: put the file back, or delete"):
            getattr(directory, read)()


def test_damaged_checkpoint_says_what_it_is(make_config):
    config = make_config()
    directory = run_directory(config)
    directory.path.mkdir(parents=True)
    directory.checkpoint.write_bytes(b"h\x05.")  # a pickle that looks up what was never stored
    with pytest.raises(BenchError, match=r"is damaged or was cut short \(\w+Error: .*\): delete"):
        train(config)


def test_no_temporary_files_stay(make_config):
    config = make_config()
    train(config)
    assert not list(run_directory(config).path.glob(".*"))
