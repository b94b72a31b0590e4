"""Damaged, mixed and forged records are refused, and killed commands leave none that looks whole."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from bregbench.evaluators import Density
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import write_json
from bregbench.reproduce.plan import plan
from bregbench.reproduce.train import keep_records
from bregbench.runs.agreement import refuse_disagreement
from bregbench.runs.archive import merge, pack, run_name
from bregbench.runs.evaluate import evaluate_run
from bregbench.runs.records import export_record, put_record, record_of
from bregbench.runs.train import run_directory, train
from bregbench.schema.compose import compose
from bregbench.storage.directory import RunDirectory
from bregbench.storage.find import find_run_directories
from bregbench.storage.layout import RunName
from bregbench.tables.cells import fill
from bregbench.tables.published import read_published
from tests.places import at


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda number: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunDirectory:
    """A record of two epochs on digits; tests work on copies."""
    folder = tmp_path_factory.mktemp("whole")
    config = compose(
        *("dataset=digits", "model=mlp", "model.hidden=[8]", "trainer.epochs=2", "tracking=none"),
        *("evaluators=[accuracy,density]", "trainer.device=cpu", f"runs_dir={folder / 'runs'}"),
    )
    train(config)
    record = record_of(config, folder / "records")
    export_record(run_directory(config), record)
    return record


@pytest.fixture
def record(whole, tmp_path) -> RunDirectory:
    target = RunDirectory(tmp_path / "mine" / run_name(whole).path)
    shutil.copytree(whole.path, target.path)
    return target


def archive_of(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return path


def files_of(record: RunDirectory, at: str = "r") -> list[tuple[str, bytes]]:
    files = sorted(filter(Path.is_file, record.path.rglob("*")))
    return [(f"{at}/{f.relative_to(record.path).as_posix()}", f.read_bytes()) for f in files]


def edited(record: RunDirectory, file: str, change) -> None:
    path = record.path / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_merge_takes_an_intact_record(record, tmp_path):
    merged = merge(archive_of(tmp_path / "a.tar.gz", *files_of(record)), tmp_path / "records")
    assert merged.new == [str(run_name(record))]
    there = RunDirectory(tmp_path / "records" / run_name(record).path)
    assert files_of(there) == files_of(record)
    packed = tmp_path / "again.tar.gz"
    assert pack([there], packed) == 1
    assert merge(packed, tmp_path / "records").known == merged.new


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_merge_follows_no_link(record, tmp_path, kind):
    link = tarfile.TarInfo("r/" + "x/" * 2100 + "config.json")
    link.type, link.linkname = kind, str(tmp_path / "outside")
    with pytest.raises(BenchError, match="is a link or no regular file"):
        merge(archive_of(tmp_path / "a.tar.gz", link, *files_of(record)), tmp_path / "records")
    assert not (tmp_path / "records").exists()
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("name", ["../../outside", "/tmp/x.json", "r/weights.pt", "r/snapshots/x"])
def test_merge_reads_known_names_only(record, tmp_path, name):
    archive = archive_of(tmp_path / "a.tar.gz", *files_of(record), (name, b"{}"))
    with pytest.raises(BenchError, match="is no file of a record"):
        merge(archive, tmp_path / "records")
    assert not (tmp_path / "records").exists()


def test_merge_refuses_what_unpacks_to_more_than_a_record(record, tmp_path):
    large = archive_of(tmp_path / "a.tar.gz", *files_of(record), ("s/config.json", bytes(2**21)))
    with pytest.raises(BenchError, match="has 2097152 bytes, and 1048576 are allowed"):
        merge(large, tmp_path / "records")
    # A header of half a gigabyte, which tarfile would read at once.
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 2**29
    block = header.tobuf(tarfile.USTAR_FORMAT)
    with gzip.GzipFile(tmp_path / "b.tar.gz", "wb") as file:
        file.write(block)
    with pytest.raises(BenchError, match="asks for 536870912 bytes at once"):
        merge(tmp_path / "b.tar.gz", tmp_path / "records")


def test_merge_refuses_a_record_that_comes_twice_or_in_part(record, tmp_path):
    files = files_of(record)
    for members, says in (
        ([*files, *files_of(record, at="s")], "twice"),
        ([*files, files[0]], "twice"),
        (files[1:], "has no config.json"),
        ([], "holds no records"),
    ):
        with pytest.raises(BenchError, match=says):
            merge(archive_of(tmp_path / "a.tar.gz", *members), tmp_path / "records")
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b\x08\x00 no archive")
    with pytest.raises(BenchError, match="cannot be read"):
        merge(tmp_path / "a.tar.gz", tmp_path / "records")


def _other_summary(summary: dict) -> None:
    summary["best"]["value"] += 0.01


def _raise_density(summary: dict) -> None:
    summary["final"]["trained"]["last"]["density/total"] *= 1.01


#: file, what is changed in it, what the refusal says
CHANGES = {
    "config": ("config.json", lambda c: c["method"].update(lam=3.0), "has the hash"),
    "hash": ("summary.json", lambda s: s.update(hash="00000000"), "config.json has the hash"),
    "seed of the config": ("config.json", lambda c: c.update(seed=5), "config.json is of"),
    "kind": ("config.json", lambda c: c["model"].update(kind="nosuch"), "unknown"),
    "epochs": ("summary.json", lambda s: s.update(epochs=3), "epochs 1 to 3"),
    "seconds": ("summary.json", lambda s: s.update(seconds=99.0), "99.000 s"),
    "best": ("summary.json", _other_summary, "the best validation/accuracy is"),
    "best epoch": ("summary.json", lambda s: s["best"].update(epoch=7), "best epoch 7"),
    "density": ("summary.json", _raise_density, "density/total of the last epoch"),
    "never measured": (
        "summary.json",
        lambda s: s["final"]["trained"]["last"].update({"robustness/strong": 0.99}),
        "robustness/strong, which none of its evaluators measures",
    ),
    "no number": (
        "summary.json",
        lambda s: s["final"]["trained"]["last"].update({"test/accuracy": 1e999}),
        "damaged|not finite",
    ),
    "no best": ("summary.json", lambda s: s.pop("best"), "lacks a required value"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_merge_and_rendering_refuse_files_that_do_not_belong_together(record, tmp_path, change):
    file, edit, says = CHANGES[change]
    edited(record, file, edit)
    with pytest.raises(BenchError, match=says):
        merge(archive_of(tmp_path / "a.tar.gz", *files_of(record)), tmp_path / "records")
    assert not (tmp_path / "records").exists()
    with pytest.raises(BenchError, match=rf"{says}|config.json is of|summary.json is of"):
        refuse_disagreement(record, RunName.parse("/".join(record.path.parts[-3:])))


def test_lost_and_foreign_metrics_are_refused(record, tmp_path):
    lines = record.metrics.read_text().splitlines(keepends=True)
    for text, says in (
        ("", "epochs 1 to 2"),
        (lines[0], "epochs 1 to 2"),
        (lines[0] + lines[1].replace('"seconds": ', '"seconds": 7'), "metrics.jsonl took"),
        ("".join(lines).replace('"phase": "train"', '"phase": "other"'), "phases that config"),
        ("\udcff", "is damaged"),
        ("[" * 100_000 + "\n", "is damaged"),
    ):
        record.metrics.write_text(text, errors="surrogateescape")
        with pytest.raises(BenchError, match=says):
            merge(archive_of(tmp_path / "a.tar.gz", *files_of(record)), tmp_path / "records")


def test_record_of_data_that_are_elsewhere_is_merged(tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (60, 8, 8), np.uint8), np.arange(60) % 3
    names = ("train", "test")
    arrays = {f"{n}_images": images for n in names} | {f"{n}_labels": labels for n in names}
    np.savez(tmp_path / "x.npz", **arrays)  # pyright: ignore[reportArgumentType]
    config = compose(
        *("dataset=arrays", f"data.path={tmp_path / 'x.npz'}", "data.validation=10", "model=mlp"),
        *("model.hidden=[4]", "trainer.epochs=1", "trainer.device=cpu", "tracking=none"),
        *("trainer.batch_size=10", "evaluators=[accuracy]", f"runs_dir={tmp_path / 'runs'}"),
    )
    train(config)
    pack([run_directory(config)], tmp_path / "a.tar.gz")
    (tmp_path / "x.npz").unlink()
    (name,) = merge(tmp_path / "a.tar.gz", tmp_path / "records").new
    there = RunDirectory(tmp_path / "records" / name)
    digest = there.read_summary()["fingerprints"]["data"]
    edited(there, "summary.json", lambda s: s["fingerprints"].update(data=digest[::-1]))
    with pytest.raises(BenchError, match="has the hash"):
        merge(archive_of(tmp_path / "b.tar.gz", *files_of(there)), tmp_path / "others")


def test_record_under_another_name_fills_no_cell(small_table, results_dir, tmp_path, local):
    records = results_dir / "records"
    jobs = plan(small_table, at(records, *local), rows=["Dense", "Sparse"], seeds=[0])
    train(jobs[0].config)
    keep_records(jobs, records)
    dense, sparse = (record_of(job.config, records) for job in jobs)
    shutil.copytree(dense.path, sparse.path)
    published = read_published(results_dir / "published" / "small_table1.csv")
    with pytest.raises(BenchError, match=r"is no intact record of .*put its files back, or delete"):
        fill(small_table, published, at(records, *local))
    shutil.rmtree(sparse.path)
    fill(small_table, published, at(records, *local))
    # Nor does a run directory.
    other = run_directory(jobs[1].config)
    shutil.copytree(run_directory(jobs[0].config).path, other.path)
    for say in ("summary", "config"):
        if say == "config":
            name = RunName.parse("/".join(other.path.parts[-3:]))
            edited(other, "summary.json", partial(dict.update, name=name.name, hash=name.hash))
        with pytest.raises(BenchError, match=rf"{say}\.json is of"):
            fill(small_table, published, at(records, *local))


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
copy, left = shutil.copyfile, [int(sys.argv[3])]
def dying(*arguments, **options):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return copy(*arguments, **options)
shutil.copyfile = dying
shutil.copytree.__defaults__ = tuple(
    dying if value is shutil.copy2 else value for value in shutil.copytree.__defaults__)
from bregbench.runs.archive import merge
merge(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_merge_leaves_no_record_that_looks_complete(record, tmp_path):
    archive = archive_of(tmp_path / "a.tar.gz", *files_of(record))
    records, name = tmp_path / "records", run_name(record)
    there = RunDirectory(records / name.path)
    for copies in (0, 3):
        command = [sys.executable, "-c", KILLED, str(archive), str(records), str(copies)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert not there.path.exists()
        assert list(there.path.parent.glob(".record-*"))
        with pytest.raises(BenchError, match="no runs in"):
            find_run_directories([str(records)])
    assert merge(archive, records).new == [str(name)]
    assert files_of(there) == files_of(record)
    assert [p.name for p in there.path.parent.iterdir()] == [there.path.name]


def test_two_commands_that_keep_one_record_keep_all(record, tmp_path):
    there = RunDirectory(tmp_path / "records" / run_name(record).path)
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(put_record(record, there, replace=False)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]
    assert files_of(there) == files_of(record)


ADDING = """
import sys, time
from bregbench.foundations.files import write_json
from bregbench.storage.directory import RunDirectory
run = RunDirectory(sys.argv[1])
for number in range(20):
    with run.keeping():
        summary = run.read_summary()
        summary.setdefault("evaluated", []).append([sys.argv[2], number])
        write_json(run.summary, summary)
"""


def test_two_evaluations_of_one_run_are_both_kept(record, monkeypatch):
    command = [sys.executable, "-c", ADDING, str(record.path)]
    added = [subprocess.Popen([*command, name]) for name in ("a", "b")]
    assert [process.wait() for process in added] == [0, 0]
    assert len(record.read_summary()["evaluated"]) == 40
    write_json(record.summary, record.read_summary() | {"evaluated": []})

    def measured(*arguments, **options):
        # Another evaluation ends while this one measures.
        summary = record.read_summary()
        summary["evaluated"].append({"evaluators": ["accuracy"]})
        write_json(record.summary, summary)
        return {"density/total": 0.5}

    monkeypatch.setattr("bregbench.runs.evaluate.evaluate", measured)
    config = compose("dataset=digits", "trainer.device=cpu")
    evaluate_run(record, config, [Density()], selection="last")
    kinds = [entry["evaluators"] for entry in record.read_summary()["evaluated"]]
    assert kinds == [["accuracy"], ["density"]]


def test_names_of_runs_are_spelled_and_parsed_in_one_way():
    for experiment in ("a", "a/b", "a/b/c"):
        name = RunName(experiment, "mnist-mlp-sgd", "0123abcd", 12)
        assert str(name) == f"{experiment}/mnist-mlp-sgd-0123abcd/seed12" == name.path.as_posix()
        assert RunName.parse(str(name)) == RunName.parse(name.path) == name
    for wrong in ("seed0", "a/seed0", "a/b-0123abcd/seed01", "a/b-0123abcX/seed0", "a/b-0123abcd"):
        with pytest.raises(BenchError):
            RunName.parse(wrong)


def test_a_waiting_command_says_who_holds_the_record(record, monkeypatch):
    monkeypatch.setattr("bregbench.storage.directory._KEEPING_SECONDS", 0.05)
    begun = time.monotonic()
    with record.keeping(), pytest.raises(BenchError, match=rf"by process {os.getpid()} on"):  # noqa: SIM117
        with record.keeping():
            pass
    assert time.monotonic() - begun < 30


def test_one_changed_digit_of_any_epoch_is_found(tmp_path):
    small = ("dataset=digits", "model=mlp", "model.hidden=[8]", "method=sgd", "tracking=none")
    config = compose(
        *small, "trainer.epochs=3", "trainer.device=cpu", f"runs_dir={tmp_path / 'runs'}"
    )
    train(config)
    run = run_directory(config)
    lines = run.metrics.read_text().splitlines(keepends=True)
    loss = json.loads(lines[1])["train/loss"]
    lines[1] = lines[1].replace(str(loss), str(loss + 1))
    run.metrics.write_text("".join(lines))
    with pytest.raises(BenchError, match="metrics"):
        refuse_disagreement(run, config.run_name, asked=config)
