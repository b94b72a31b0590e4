"""Runs in bundles are read as records are, and what is damaged is refused by name."""

from __future__ import annotations

import gzip
import json
import os
import time

import pytest

import bregbench.cli.runs as runs_command
import bregbench.storage.bundles as bundles
from bregbench.evaluators import Density
from bregbench.foundations.errors import BenchError
from bregbench.reproduce.plan import plan
from bregbench.reproduce.train import keep_records, run_missing
from bregbench.runs.agreement import refuse_disagreement
from bregbench.runs.archive import merge, pack, run_name
from bregbench.runs.evaluate import evaluate_run
from bregbench.runs.train import run_directory
from bregbench.runs.workplace import Workplace
from bregbench.storage.bundles import bundled_below, pack_lines, read_bundle
from bregbench.storage.directory import RunDirectory
from bregbench.storage.find import find_run, find_run_directories
from bregbench.storage.layout import RunName
from bregbench.tables.cells import fill
from bregbench.tables.published import read_published


@pytest.fixture
def table(small_table):
    small_table.bundle = True
    return small_table


@pytest.fixture
def place(results_dir, tmp_path):
    return Workplace(results=results_dir, device="cpu", runs_dir=str(tmp_path / "runs"))


def jobs_of(table, place):
    return plan(table, place, rows=[], seeds=table.seeds)


def trained(table, place):
    """The bundle of the dense row, with both seeds in it."""
    jobs = [job for job in jobs_of(table, place) if job.row == "Dense"]
    assert run_missing(jobs, place.records, deadline=None) == []
    return place.bundles / "small_table1" / "dense.jsonl.gz"


def cells_of(table, place):
    published = read_published(place.published / "small_table1.csv")
    return {row.label: row for row in fill(table, published, place)}["Dense"]


def edit(path, change, *, sign):
    """Change the first line of a bundle, with a new digest or the old one."""
    lines = [json.loads(text) for text in gzip.decompress(path.read_bytes()).splitlines()]
    digest = lines[0].pop("digest")
    change(lines[0])
    if sign:
        for line in lines[1:]:
            line.pop("digest")
        path.write_bytes(pack_lines(lines))
    else:
        lines[0]["digest"] = digest
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))


def test_cells_from_a_bundle_are_those_of_the_runs(table, place, tmp_path):
    path = trained(table, place)
    assert [name.seed for name in read_bundle(path)] == [0, 1]
    assert not place.records.exists()
    of_bundle = cells_of(table, place)
    assert isinstance(of_bundle.runs[0], bundles.BundledRun)
    path.rename(tmp_path / "away")
    of_runs = cells_of(table, place)
    assert not isinstance(of_runs.runs[0], bundles.BundledRun)
    assert of_bundle.cells == of_runs.cells
    for run in of_bundle.runs.values():
        assert run.read_config()["runs_dir"] == "runs"


def test_what_a_bundle_holds_is_done_and_not_kept_again(table, place):
    path = trained(table, place)
    before = path.read_bytes()
    assert [job.done for job in jobs_of(table, place) if job.row == "Dense"] == [True, True]
    assert keep_records(jobs_of(table, place), place.records) == 0
    assert path.read_bytes() == before


def test_bundles_that_grow_in_any_order_are_equal_bytes(table, place):
    path = trained(table, place)
    whole = path.read_bytes()
    jobs = [job for job in jobs_of(table, place) if job.row == "Dense"]
    path.unlink()
    assert [keep_records([job], place.records) for job in reversed(jobs)] == [1, 1]
    assert path.read_bytes() == whole


def test_seed_0_of_rows_that_ask_for_weights_is_a_record(table, place):
    table.rows["Dense"].weights = True
    path = trained(table, place)
    assert [name.seed for name in read_bundle(path)] == [1]
    first = cells_of(table, place).runs[0]
    assert first.path.is_relative_to(place.records)
    assert first.sparse_weights.is_file()


def test_evaluations_reach_the_bundle(table, place):
    path = trained(table, place)
    job = next(job for job in jobs_of(table, place) if job.row == "Dense")
    run = run_directory(job.config)
    evaluate_run(run, job.config, [Density()], selection="best")
    assert keep_records([job], place.records) == 0
    there = read_bundle(path)[job.config.run_name]
    assert [entry["selection"] for entry in there.read_summary()["evaluated"]] == ["best"]
    refuse_disagreement(there, job.config.run_name)


def test_long_runs_are_thinned_and_nothing_else():
    rows = [{"epoch": epoch} for epoch in range(1, 31)]
    kept = [row["epoch"] for row in bundles.thinned(rows, best=7)]
    assert kept == [1, 5, 7, 10, 15, 20, 25, 30]
    assert bundles.thinned(rows[:3], best=0) == rows[:3]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda line: line["config"]["trainer"].update(batch_size=17), "config.json"),
        (lambda line: line["summary"].update(hash="01234567"), "summary.json is of"),
        (lambda line: line["metrics"].pop(), "metrics.jsonl does not have the epochs"),
        (lambda line: line["summary"]["final"]["trained"]["last"].update({"odd/x": 1.0}), "odd/x"),
    ],
)
def test_lines_that_do_not_belong_together_are_refused(table, place, change, reason):
    path = trained(table, place)
    edit(path, change, sign=True)
    with pytest.raises(BenchError, match=reason) as error:
        cells_of(table, place)
    assert str(path) in str(error.value)
    assert "seed0" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_digest_that_differs_is_refused(table, place):
    path = trained(table, place)
    edit(path, lambda line: line["summary"].update(seconds=1.0), sign=False)
    with pytest.raises(BenchError, match="seed0 is damaged \\(its digest differs\\)") as error:
        jobs_of(table, place)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b[:50] + b"xy" + b[52:], lambda b: b"{}"]
)
def test_a_damaged_archive_is_refused_and_not_overwritten(table, place, damage):
    path = trained(table, place)
    content = damage(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(BenchError, match="damaged"):
        jobs_of(table, place)
    configs = [table.config("Dense", seed, place) for seed in (0, 1)]
    with pytest.raises(BenchError, match="damaged"):
        bundles.add_to_bundle(path, [bundles.line_of(run_directory(configs[0]), {})])
    assert path.read_bytes() == content


def test_a_run_under_another_hash_is_refused_without_being_asked_for(table, place):
    path = trained(table, place)

    def rename(line):
        line["summary"]["hash"] = "01234567"
        line["run"] = line["run"].replace(line["run"][-14:-6], "01234567")

    edit(path, rename, sign=True)
    run = next(run for run in bundled_below(place.bundles) if "01234567" in run.name)
    with pytest.raises(BenchError, match=r"config\.json has the hash"):
        refuse_disagreement(run, run_name(run))


def test_a_killed_writer_leaves_the_old_bundle(table, place, monkeypatch):
    path = trained(table, place)
    old = path.read_bytes()
    line = next(iter(read_bundle(path).values())).line
    other = line | {"run": line["run"].replace("seed0", "seed7")}

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(Killed):
        bundles.add_to_bundle(path, [other])
    assert path.read_bytes() == old
    monkeypatch.undo()
    assert bundles.add_to_bundle(path, [other]) == 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_list_show_and_pull(table, place, call, tmp_path):
    path = trained(table, place)
    code, out, _ = call(runs_command, "list", f"runs=[{place.bundles}]")
    rows = [line for line in out.splitlines() if line.split()[:1] == ["complete"]]
    assert (code, len(rows)) == (0, 2)
    run = find_run_directories([str(place.bundles)])[0]
    code, out, _ = call(runs_command, "show", f"run={run.path}")
    assert (code, json.loads(out)["summary"]["seed"]) == (0, 0)
    records = tmp_path / "pulled"
    assert call(runs_command, "pull", f"run={run.path}", f"records_dir={records}")[0] == 0
    record = find_run(str(records))
    assert record.read_summary()["final"] == run.read_summary()["final"]
    refuse_disagreement(record, run_name(record))
    # A record like any other: it travels, and changed digits are found.
    assert pack([record], tmp_path / "a.tar.gz") == 1
    assert len(merge(tmp_path / "a.tar.gz", tmp_path / "elsewhere").new) == 1
    record.metrics.write_text(record.metrics.read_text().replace("0", "1", 1))
    with pytest.raises(BenchError, match="differs from what the run wrote"):
        refuse_disagreement(record, run_name(record))
    code, _, err = call(runs_command, "pull", f"run={records}")
    assert code == 1
    assert "is no run of a bundle" in err
    assert path.is_file()


def test_six_hundred_runs_are_read_in_seconds(table, place):
    line = next(iter(read_bundle(trained(table, place)).values())).line
    folder = place.bundles / "many"
    folder.mkdir()
    for row in range(20):
        lines = [
            line | {"run": line["run"].replace("seed0", f"seed{30 * row + s}")} for s in range(30)
        ]
        (folder / f"row{row}.jsonl.gz").write_bytes(pack_lines(lines))
    began = time.process_time()
    assert len(bundled_below(folder)) == 600
    # A tenth of a second; twenty times that is a mistake, not a slow machine.
    assert time.process_time() - began < 5


def test_paths_below_no_bundle_are_left_to_others(tmp_path):
    assert bundles.bundled_at(tmp_path / "a" / "seed0") is None
    assert bundles.find_bundled(tmp_path, RunName("a", "b", "01234567", 0)) is None
    assert not RunDirectory(tmp_path).complete
