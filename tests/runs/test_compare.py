"""Comparing runs: what differs, and nothing else."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from bregbench.cli import compare
from bregbench.foundations.errors import BenchError
from bregbench.runs.compare import differences
from bregbench.storage.directory import RunDirectory
from bregbench.storage.find import SavedRun, find_named, read_run


def saved(place: Path, lam: float, accuracy: float, *, seed: int = 0) -> SavedRun:
    """A finished run as the files that it leaves."""
    run = RunDirectory(place / f"digits-mlp-linbreg-{int(100 * lam):08x}" / f"seed{seed}")
    run.path.mkdir(parents=True)
    method = {"kind": "linbreg", "lam": lam, "penalty": {"l1": {"scale": 1.0}}}
    run.config.write_text(
        json.dumps({"method": method, "phases": {}, "seed": 0, "runs_dir": f"at {lam}"})
    )
    rows = [{"epoch": k, "train/loss": lam + k, "lr": 0.1} for k in (1, 2)]
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    final = {"trained": {"last": {"test/accuracy": accuracy}, "best": {"test/accuracy": 0.5}}}
    run.summary.write_text(json.dumps({"final": final}))
    return read_run(run)


@pytest.fixture
def two(tmp_path):
    return [
        saved(tmp_path / "runs" / "a", lam, accuracy) for lam, accuracy in ((0.01, 0.9), (1.0, 0.8))
    ]


def test_differences_are_those_of_the_files(two):
    assert [(d.kind, d.key, d.values) for d in differences(two)] == [
        ("config", "method.lam", (0.01, 1.0)),
        ("metric", "train/loss", (2.01, 3.0)),
        ("metric", "test/accuracy", (0.9, 0.8)),
    ]
    best = differences(two, selection="best")
    assert [d.key for d in best] == ["method.lam", "train/loss"]


def test_what_one_run_lacks_is_a_difference(two):
    shorter = SavedRun(
        two[1].path, {"method": {"lam": 0.01}, "phases": {"a": {"epochs": 1}}}, [], None
    )
    found = {d.key: d.values for d in differences([two[0], shorter])}
    assert found["method.kind"] == ("linbreg", None)
    assert found["phases.a.epochs"] == (None, 1)
    assert found["test/accuracy"] == (0.9, None)
    assert "method.lam" not in found


def test_a_run_does_not_differ_from_itself(two):
    assert differences([two[0], two[0]]) == []


def test_command_takes_paths_and_hashes(call, two, tmp_path):
    code, out, _ = call(compare, str(two[0].path), two[1].name[-8:], "output=table.csv")
    assert code == 0
    lines = out.splitlines()
    assert [line[:3] for line in lines[:2]] == ["1  ", "2  "]
    assert lines[3].split() == ["method.lam", "0.01", "1"]
    assert max(map(len, lines[2:])) <= 80
    rows = list(csv.reader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert rows[0] == ["kind", "key", str(two[0].path), f"runs/a/{two[1].name}/seed0"]
    assert rows[1] == ["config", "method.lam", "0.01", "1.0"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "1 runs cannot be compared: give two or more"),
        (["deadbeef"], "deadbeef is the hash of no run in runs, results/records"),
        (["nowhere"], "run=nowhere: no run there"),
        (["00000064", "variant=trianed"], "did you mean variant=trained? "),
    ],
)
def test_refusals_are_one_line(call, two, more, says):
    code, _, err = call(compare, str(two[0].path), *more)
    assert code == 1
    assert says in err
    assert len(err.splitlines()) == 1


def test_a_hash_of_several_seeds_wants_one(two, tmp_path):
    other = saved(tmp_path / "runs" / "a", 1.0, 0.7, seed=1)
    with pytest.raises(BenchError, match="is the hash of 2 runs: give one of"):
        find_named("00000064", [str(tmp_path / "runs")])
    assert find_named("00000064/seed1", [str(tmp_path / "runs")]).path == other.path
