"""Tuning looks at validation images alone, resumes, and what it chose decides what the rows are."""

from __future__ import annotations

import csv

import pytest

import bregbench.cli.reproduce as reproduce_command
import bregbench.cli.tune as command
from bregbench.foundations.errors import BenchError
from bregbench.methods.optimizer import OptimizerConfig
from bregbench.reproduce import queue, tuning
from bregbench.reproduce.plan import plan
from bregbench.reproduce.train import run_missing
from bregbench.reproduce.tuning import keep_trials, trial_jobs, untuned_jobs
from bregbench.runs.records import find_complete
from bregbench.runs.workplace import Workplace
from bregbench.tables.elements import Part, Tuning
from bregbench.tables.tuning import Trial, best_of, read_trials


@pytest.fixture
def table(small_table):
    """The small table in a bundle; its dense row has two rates to try, in one of two parts."""
    small_table.parts = {"few": ["trainer.epochs=1"], "more": []}
    small_table.details = {"few": Part(values={"size": "32"}), "more": Part(values={"size": "64"})}
    small_table.columns = {
        f"{p} {c}": v for c, v in small_table.columns.items() for p in ("few", "more")
    }
    for column in small_table.columns.values():
        column.beside = []
    small_table.bundle = small_table.ours = True
    small_table.tuning = Tuning(part="few", seed=7)
    dense = small_table.rows["Dense"]
    dense.overrides = ["method=sgd", "trainer.batch_size=<size>"]
    dense.tuning = [["method.lr=0.0001"], ["method.lr=0.1"]]
    small_table.rows["Sparse"].steered = []
    small_table.check()
    return small_table


@pytest.fixture
def place(results_dir, tmp_path):
    return Workplace(results=results_dir, device="cpu", runs_dir=str(tmp_path / "runs"))


@pytest.fixture
def known(monkeypatch, table):
    """The commands find the table by its name."""
    for module in (queue, tuning):
        monkeypatch.setattr(module, "load_table", lambda name: table)
    monkeypatch.setattr("bregbench.figures.specs.load_table", lambda name: table)
    return table


def tune(call, place, *more):
    where = (f"results_dir={place.results}", f"runs_dir={place.runs_dir}", "device=cpu")
    return call(command, "table=small_table1", *where, *more)


def rate_of(job):
    assert isinstance(job.config.method, OptimizerConfig)
    return job.config.method.lr


def lines_of(table, place):
    with table.trials_of(place).open() as file:
        return list(csv.DictReader(file))


def test_trials_see_no_test_images_and_have_a_seed_of_their_own(table, place):
    jobs = trial_jobs(table, place)
    assert [job.label for job in jobs] == ["Dense, trial 1 of 2", "Dense, trial 2 of 2"]
    assert [rate_of(job) for job in jobs] == [1e-4, 0.1]
    assert {(job.config.seed, job.config.trainer.batch_size) for job in jobs} == {(7, 32)}
    assert run_missing(jobs, place.records, deadline=None) == []
    for job in jobs:
        run = find_complete(job.config, place.records)
        assert run is not None
        text = str(run.read_summary()) + str(run.read_metrics())
        assert "validation/accuracy" in text
        assert "test/" not in text


def test_command_chooses_and_rows_take_what_it_chose(known, place, call):
    assert plan(known, place, rows=["Dense"], seeds=[0]) == []
    with pytest.raises(BenchError, match=r"row Dense of small_table1 is still to be tuned: python"):
        known.config("Dense", 0, place)
    code, _, err = tune(call, place)
    assert code == 0, err
    assert "Dense: method.lr=0.1" in err
    found = lines_of(known, place)
    assert [(line["overrides"], line["chosen"]) for line in found] == [
        ("method.lr=0.0001", ""),
        ("method.lr=0.1", "yes"),
    ]
    assert float(found[0]["validation accuracy"]) < float(found[1]["validation accuracy"])
    assert {line["density"] for line in found} == {"1"}
    jobs = plan(known, place, rows=["Dense"], seeds=[0])
    rates = {(job.part, rate_of(job), job.config.trainer.batch_size) for job in jobs}
    assert rates == {("few", 0.1, 32), ("more", 0.1, 64)}
    # In the bundle of the row, and nothing is done again, with or without the runs.
    place = Workplace(results=place.results, device="cpu", runs_dir=str(place.results / "none"))
    assert [job.done for job in trial_jobs(known, place)] == [True, True]
    before = known.trials_of(place).read_bytes()
    assert tune(call, place)[0] == 0
    assert known.trials_of(place).read_bytes() == before


def test_half_of_the_trials_choose_nothing_and_the_rest_resumes(known, place, call):
    run_missing(trial_jobs(known, place)[:1], place.records, deadline=None)
    code, _, err = tune(call, place, "train=false")
    assert (code, len(lines_of(known, place))) == (0, 1)
    assert "Dense: not tuned yet" in err
    assert known.chosen("Dense", place) is None
    assert [job.done for job in untuned_jobs(known, place)] == [True, False]
    code, out, _ = tune(call, place, "dry_run=true")
    assert (code, "1 of 2 trials missing" in out) == (0, True)
    assert tune(call, place, "budget=0.001s")[0] == 124
    assert tune(call, place, "rows=[Dense]")[0] == 0
    assert known.chosen("Dense", place) == ["method.lr=0.1"]


def test_trials_of_another_table_do_not_count(known, place, call):
    assert tune(call, place)[0] == 0
    known.common.append("model.hidden=[9]")
    keep_trials(known, place)
    assert lines_of(known, place) == []
    assert known.chosen("Dense", place) is None


def test_a_new_set_asks_for_a_new_trial(known, place, call):
    assert tune(call, place)[0] == 0
    known.rows["Dense"].tuning.append(["method.lr=0.2"])
    assert known.chosen("Dense", place) is None
    assert [job.done for job in untuned_jobs(known, place)] == [True, True, False]


def test_queue_takes_trials_first_and_then_the_rows(known, place):
    items = [queue.Item("small_table1", rows=["Dense"], seeds=[0])]
    jobs = queue.jobs_in_order(items, place)
    assert [job.label for job in jobs] == ["Dense, trial 1 of 2", "Dense, trial 2 of 2"]
    run_missing(jobs, None, deadline=None)
    tuning.choose_tuned(["small_table1"], place)
    again = queue.jobs_in_order(items, place)
    assert [(job.label, job.done) for job in again] == [
        ("Dense, few", False),
        ("Dense, more", False),
    ]


def test_reproduce_says_what_is_to_be_tuned_and_goes_on(known, place, call):
    where = (f"results_dir={place.results}", f"runs_dir={place.runs_dir}", "device=cpu")
    code, out, err = call(reproduce_command, "table=small_table1", *where, "dry_run=true")
    assert code == 0
    assert "1 rows are not tuned yet: python -m bregbench.cli.tune table=small_table1" in err
    assert "Sparse" in out
    assert "Dense" not in out


def test_a_trial_that_diverges_has_lost_and_does_not_stop_the_others(known, place, call):
    known.rows["Dense"].tuning = [["method.lr=1e30"], ["method.lr=0.1"]]
    assert tune(call, place)[0] == 1
    lost, won = lines_of(known, place)
    assert (lost["validation accuracy"], lost["commit"]) == ("0.000000", "diverged")
    assert won["chosen"] == "yes"
    # Known now: the same command has nothing left to train.
    assert tune(call, place)[0] == 0


def test_first_of_equals_wins():
    def trial(name, accuracy):
        return Trial("r", (name,), accuracy, 1.0, 1.0, "01234567", "c")

    trials = {t.tried: t for t in (trial("a", 0.5), trial("b", 0.7), trial("c", 0.7))}
    assert best_of("r", [["a"], ["b"], ["c"]], trials) == ["b"]
    assert best_of("r", [["c"], ["b"], ["a"]], trials) == ["c"]
    assert best_of("r", [["a"], ["d"]], trials) is None
    assert best_of("r", [], trials) is None


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("row,overrides\na,b\n")
    with pytest.raises(BenchError, match=r"t\.csv is damaged"):
        read_trials(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: setattr(t.tuning, "seed", 1), "tuning.seed=1 is a seed of the table"),
        (lambda t: setattr(t.tuning, "part", "fev"), "did you mean few"),
        (lambda t: t.rows["Dense"].tuning.extend([["a=1"]] * 2), "different sets"),
        (lambda t: t.rows["Dense"].tuning.append(["a=[1, 2]"]), r"one with 'a=\[1, 2\]'"),
        (lambda t: t.rows["Dense"].tuning.extend([[f"a={n}"] for n in range(7)]), "at most 8"),
    ],
)
def test_unfair_tuning_is_refused(table, change, reason):
    change(table)
    with pytest.raises(BenchError, match=reason):
        table.check()
