"""Rows that leave the precision to the machine: runs of either fill their cells, in a fixed order."""

from __future__ import annotations

from pathlib import Path

import pytest

from bregbench.figures.specs import load_table
from bregbench.reproduce.plan import plan
from bregbench.reproduce.train import run_missing
from bregbench.runs.train import run_directory, train
from bregbench.schema.pieces import forget
from bregbench.schema.trainer import Precision
from bregbench.tables.cells import fill, finished_runs
from bregbench.tables.precisions import asks_auto
from bregbench.tables.published import read_published
from bregbench.tables.rendering import to_markdown
from bregbench.tables.spec import Row, Table
from tests.places import at, local_place

ROWS = ("Dense", "Sparse")


@pytest.fixture
def table(small_table: Table) -> Table:
    small_table.common.append("trainer.precision=auto")
    small_table.rows["Sparse"].overrides.append("trainer.precision=fp32")
    return small_table


@pytest.fixture(autouse=True)
def has(monkeypatch):
    """Says whether the machine has bf16; composed configs are kept for the machine that there is."""

    def say(answer: bool) -> None:
        monkeypatch.setattr("bregbench.schema.trainer.has_bf16", lambda _device: answer)
        forget()

    say(True)
    yield say
    forget()


def lines(table: Table, results_dir: Path, local: tuple[str, ...]) -> str:
    records = results_dir / "records"
    published = read_published(results_dir / "published" / "small_table1.csv")
    text = to_markdown(table, fill(table, published, at(records, *local)), verdicts=True)
    return "\n".join(line for line in text.splitlines() if line.startswith("- Dense: seeds"))


def test_who_asks_for_it(table):
    assert asks_auto(table, "Dense", local_place())
    assert not asks_auto(table, "Sparse", local_place())
    assert not asks_auto(table, "Dense", local_place("trainer.precision=bf16"))
    assert asks_auto(table, "Sparse", local_place("trainer.precision=auto"))


@pytest.mark.parametrize("machine", [Precision.bf16, Precision.fp32])
def test_either_precision_fills_a_cell(table, results_dir, local, has, machine):
    records = results_dir / "records"
    has(machine is Precision.bf16)
    jobs = plan(table, at(records, *local), rows=list(ROWS), seeds=[0])
    assert [job.config.trainer.precision for job in jobs] == [machine, Precision.fp32]
    assert run_missing(jobs, records, deadline=None) == []
    for answer in (True, False):  # whatever the machine that renders
        has(answer)
        for places in (local, ("runs_dir=elsewhere", "trainer.device=cpu")):
            jobs = plan(table, at(records, *places), rows=list(ROWS), seeds=[0, 1])
            assert [job.done for job in jobs] == [True, True, False, False]
            assert jobs[0].config.trainer.precision is machine
            own = Precision.bf16 if answer else Precision.fp32
            assert jobs[2].config.trainer.precision is own
            assert list(finished_runs(table, "Dense", at(records, *places))) == [0]
            assert f", {machine.name}; `" in lines(table, results_dir, places)


def test_bf16_counts_first_and_seeds_may_differ(table, results_dir, local, has):
    records = results_dir / "records"
    for seed, answers in ((0, (False, True)), (1, (False,))):
        for answer in answers:
            has(answer)
            train(table.config("Dense", seed, local_place(*local)))
    has(False)
    runs = finished_runs(table, "Dense", at(records, *local))
    found = [run.read_config()["trainer"]["precision"] for run in runs.values()]
    assert found == ["bf16", "fp32"]
    assert ", bf16 and fp32; `" in lines(table, results_dir, local)


def test_rows_of_a_fixed_precision_do_not_name_it(small_table, results_dir, local):
    train(small_table.config("Dense", 0, local_place(*local)))
    line = lines(small_table, results_dir, local)
    assert "seeds 0" in line
    assert "fp32" not in line


def test_a_row_begins_with_a_run_of_either_precision(table, results_dir, local, has):
    records = results_dir / "records"
    phases = ["phases=transfer", "phases.train.epochs=1"]
    table.common = [text for text in table.common if "epochs" not in text]
    begun = Row(["method=sgd", *phases], source="Dense")
    table.rows = {"Dense": Row(["method=sgd", "trainer.epochs=1"]), "Begun": begun}

    def jobs():
        return plan(table, at(records, *local), rows=["Dense", "Begun"], seeds=[0])

    first, second = jobs()
    assert second.source is not None
    assert second.source.path == run_directory(first.config).path
    assert second.blocked
    train(first.config)
    has(False)  # another machine goes on
    first, second = jobs()
    assert first.done
    assert not second.blocked
    assert second.config.trainer.precision is Precision.fp32
    train(second.config)
    for answer in (True, False):
        has(answer)
        assert [job.done for job in jobs()] == [True, True]


@pytest.mark.parametrize("name", ["bregman_table1", "bregman_table2", "dessilbi_table3"])
def test_published_tables_leave_the_precision_to_the_machine(name):
    table = load_table(name)
    assert all(asks_auto(table, row, local_place()) for row in table.rows)
