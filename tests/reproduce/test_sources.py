"""Rows whose runs begin with the run of another row."""

from __future__ import annotations

import shutil

import pytest
import torch

from bregbench import load_run
from bregbench.foundations.errors import BenchError
from bregbench.reproduce.plan import plan
from bregbench.reproduce.queue import work
from bregbench.reproduce.train import run_missing
from bregbench.runs.records import export_record, record_of
from bregbench.runs.train import run_directory, train
from bregbench.tables.spec import Row, Table
from tests.places import at, local_place


@pytest.fixture
def table() -> Table:
    return Table(
        name="small_table3",
        title="Tickets of another run",
        seeds=[0, 1],
        common=["dataset=digits", "model=mlp", "model.hidden=[8]", "data.limit=200"],
        rows={
            "Target": Row(["method=sgd", "phases=transfer", "phases.train.epochs=1"], source="Source"),
            "Source": Row(["method=linbreg", "method.lam=10", "trainer.epochs=1"]),
        },
    )  # fmt: skip


def test_a_run_is_known_by_the_name_of_its_source(table, tmp_path, local):
    jobs = plan(table, at(tmp_path / "records", *local), rows=[], seeds=[0, 1])
    target, source = jobs[:2]
    assert target.blocked.endswith("train that row first")
    assert not source.blocked
    names = {job.config.hashed_name for job in jobs if job.row == "Target"}
    assert len(names) == 2  # sources of two seeds are two sources

    train(source.config)
    again = plan(table, at(tmp_path / "records", *local), rows=["Target"], seeds=[0])[0]
    assert not again.blocked
    assert again.config.hashed_name == target.config.hashed_name
    train(again.config)
    ours, theirs = (load_run(run_directory(job.config).path) for job in (again, source))
    for name, weight in theirs.named_parameters():
        if name.endswith("weight"):
            assert 0 < int(weight.count_nonzero()) < weight.numel()
            assert torch.equal(ours.get_parameter(name) != 0, weight != 0)
    other = plan(table, at(tmp_path / "records", *local), rows=["Target"], seeds=[1])[0]
    begin = other.config.phases["train"].begin
    begin.run = str(run_directory(source.config).path)  # type: ignore[union-attr]
    with pytest.raises(BenchError, match=r"run=\S+ is not the run small_table3/\S+/seed1 that"):
        train(other.config)


def test_a_record_is_source_enough(table, tmp_path, local):
    records = tmp_path / "records"
    source = table.config("Source", 0, local_place(*local))
    train(source)
    export_record(run_directory(source), record_of(source, records))
    shutil.rmtree(run_directory(source).path)
    (target,) = plan(table, at(records, *local), rows=["Target"], seeds=[0])
    assert not target.blocked
    assert run_missing([target], records, deadline=None) == []
    kept = record_of(target.config, records)
    assert kept.complete
    assert str(tmp_path) not in kept.config.read_text()


def test_sources_come_first_whatever_the_order(table, tmp_path, local):
    jobs = plan(table, at(tmp_path / "records", *local), rows=[], seeds=[0])
    assert [job.row for job in jobs] == ["Target", "Source"]
    assert work(jobs, workers=2, deadline=None) == []
    assert all(run_directory(job.config).complete for job in jobs)


@pytest.mark.parametrize("train_them", [work, run_missing], ids=["queue", "table"])
def test_a_run_without_its_source_fails_and_says_why(table, tmp_path, local, train_them):
    alone = plan(table, at(tmp_path / "records", *local), rows=["Target"], seeds=[0])
    more = {"workers": 1} if train_them is work else {"records_dir": None}
    ((job, reason),) = train_them(alone, **more, deadline=None)
    assert job.row == "Target"
    assert reason.startswith("it begins with ")
    assert not run_directory(job.config).path.exists()


def test_a_source_is_a_row_without_one(table):
    table.check()
    table.rows["Target"].source = "Sauce"
    with pytest.raises(BenchError, match=r"rows\.Target\.source names Sauce, which is not there"):
        table.check()
    table.rows["Target"].source = "Target"
    with pytest.raises(BenchError, match="begins with a run itself"):
        table.check()


def test_a_source_needs_a_phase_that_begins_with_it(table, local):
    table.rows["Target"].overrides = ["method=sgd", "trainer.epochs=1"]
    with pytest.raises(BenchError, match="no phase begins with another run: add phases=transfer"):
        table.config("Target", 0, local_place(*local))
