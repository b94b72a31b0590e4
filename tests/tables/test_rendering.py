"""From runs to records to a rendered table."""

from __future__ import annotations

import copy
import csv
import json
import re
import shlex
import shutil
import tarfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from bregbench import load_run
from bregbench.cli import evaluate, reproduce, results_next, runs, search, status
from bregbench.figures.specs import load_table
from bregbench.foundations.errors import BenchError, Interrupted
from bregbench.foundations.files import write_json
from bregbench.measures import density as measured
from bregbench.reproduce.plan import plan
from bregbench.reproduce.train import attempt, run_missing
from bregbench.runs.archive import merge
from bregbench.runs.load import read_config
from bregbench.runs.train import run_directory, train
from bregbench.schema.compose import compose
from bregbench.storage.directory import RunDirectory
from bregbench.storage.sparse_weights import load_sparse, save_sparse
from bregbench.tables import read_published
from bregbench.tables.cells import fill, metric_of
from bregbench.tables.elements import named
from bregbench.tables.published import UNITS, Published
from bregbench.tables.remarks import command
from bregbench.tables.spec import Claim, Column, Table
from bregbench.tables.verdicts import Better, Verdict
from tests.places import ROOT, at, local_place


@pytest.fixture
def call(call, monkeypatch, small_table):
    """A command in this process that knows the small table: (exit code, stdout, stderr)."""
    known = load_table

    def load(name: str) -> Table:
        return small_table if name == small_table.name else known(name)

    monkeypatch.setattr("bregbench.figures.specs.load_table", load)
    monkeypatch.setattr("bregbench.reproduce.queue.load_table", load)
    monkeypatch.setattr("bregbench.reproduce.tuning.load_table", load)
    return call


def lines(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(newline="") as file:
        return {(line["row"], line["column"]): line for line in csv.DictReader(file)}


def test_reproduce_trains_records_and_renders(call, results_dir, tmp_path):
    (tmp_path / "README.md").write_text(
        "before\n<!-- small_table1 -->\n<!-- end small_table1 -->\n"
    )
    code, out, _ = call(reproduce, "table=small_table1", "dry_run=true")
    assert code == 0
    assert "4 of 4 runs missing" in out
    assert "Huge: needs a larger machine" in out
    assert not (tmp_path / "runs").exists()

    assert call(reproduce, "table=small_table1", "device=cpu")[0] == 0
    records = sorted((results_dir / "records").rglob("summary.json"))
    assert len(records) == 4
    weights = sorted((results_dir / "records").rglob("weights.safetensors"))
    assert {w.parent.name for w in weights} == {"seed0"}
    assert not list((results_dir / "records").rglob("*.pt"))

    cells = lines(results_dir / "small_table1" / "small_table1.csv")
    assert cells["Dense", "density/total"]["verdict"] == "PASS"
    assert cells["Sparse", "density/total"]["verdict"] == "MATCHED"
    assert cells["Huge", "test/accuracy"]["reason"] == "needs a larger machine"
    assert cells["Unknown", "test/accuracy"]["reason"] == "no config for this row yet"
    assert cells["Dense", "test/accuracy"]["n"] == "2"
    assert cells["Sparse", "train/accuracy"]["mean"] != ""
    readme = (tmp_path / "README.md").read_text()
    assert "| Dense |" in readme
    assert readme.startswith("before\n<!-- small_table1 -->\n")

    # The records alone are enough; without one of them its cells say so.
    shutil.rmtree(tmp_path / "runs")
    assert call(reproduce, "table=small_table1", "render=true")[0] == 0
    assert lines(results_dir / "small_table1" / "small_table1.csv") == cells
    for record in (results_dir / "records").rglob("digits-mlp-linbreg*"):
        shutil.rmtree(record)
    call(reproduce, "table=small_table1", "render=true")
    changed = lines(results_dir / "small_table1" / "small_table1.csv")
    assert changed["Sparse", "test/accuracy"]["verdict"] == "NOT RUN"
    assert changed["Dense", "test/accuracy"] == cells["Dense", "test/accuracy"]


def test_record_gets_what_its_run_is_measured_with_later(call, results_dir, tmp_path):
    only = ("table=small_table1", "rows=[Dense]", "seeds=[0]", "device=cpu")
    assert call(reproduce, *only)[0] == 0
    (run,) = (RunDirectory(p.parent) for p in (tmp_path / "runs").rglob("summary.json"))
    (record,) = (RunDirectory(p.parent) for p in (results_dir / "records").rglob("summary.json"))
    first = record.read_summary()
    assert call(evaluate, f"run={run.path}", "evaluators=[lipschitz]", "device=cpu")[0] == 0
    assert call(reproduce, *only)[0] == 0
    assert record.read_summary() == run.read_summary() != first
    # Another value where nothing was evaluated again does not reach the record; where it was, that is said.
    summary = run.read_summary()
    summary["final"]["trained"]["last"]["test/accuracy"] += 0.01
    write_json(run.summary, summary)
    assert call(reproduce, *only)[0] == 0
    assert record.read_summary() != summary
    summary["evaluated"].append({"evaluators": ["accuracy"]})
    write_json(run.summary, summary)
    before = record.summary.read_bytes()
    code, out, err = call(reproduce, *only)
    assert code == 0
    assert "measure test/accuracy differently" in out + err
    assert record.summary.read_bytes() == before


def test_command_beside_a_cell_reruns_it(call, results_dir):
    call(reproduce, "table=small_table1", "render=true")
    cell = lines(results_dir / "small_table1" / "small_table1.csv")["Dense", "test/accuracy"]
    arguments = shlex.split(cell["command"])[2:]
    code, out, _ = call(reproduce, *arguments, "dry_run=true")
    assert code == 0
    assert "2 of 2 runs missing" in out


def test_command_survives_an_apostrophe(small_table):
    assert shlex.split(command(small_table, "Adam's"))[-1] == 'rows=["Adam\'s"]'


def test_table_of_ours_needs_no_published_numbers(call, results_dir, small_table, tmp_path):
    (results_dir / "published" / "small_table1.csv").unlink()
    small_table.ours = True
    small_table.columns["test/accuracy"].unit = "%"
    small_table.columns["best validation/accuracy"] = Column()
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text("before\n<!-- small_table1 -->\n<!-- end small_table1 -->\nafter\n")
    code, _, err = call(reproduce, "table=small_table1", "rows=[Dense]", "seeds=[0]", "device=cpu")
    assert code == 0, err
    cells = lines(results_dir / "small_table1" / "small_table1.csv")
    assert cells["Dense", "test/accuracy"]["verdict"] == "-"
    assert cells["Dense", "test/accuracy"]["published"] == ""
    assert float(cells["Dense", "test/accuracy"]["mean"]) > 10
    assert cells["Sparse", "test/accuracy"]["verdict"] == "NOT RUN"
    summary = json.loads(next((results_dir / "records").rglob("summary.json")).read_text())
    best = float(cells["Dense", "best validation/accuracy"]["mean"])
    assert best == pytest.approx(summary["best"]["value"], rel=1e-5)
    text = page.read_text()
    assert text.startswith("before\n<!-- small_table1 -->\nOurs, epoch: last.")
    assert text.endswith("<!-- end small_table1 -->\nafter\n")
    assert "nan" not in text


def test_reduced_runs_fill_no_published_cell(call, results_dir):
    code, *_ = call(reproduce, "table=small_table1", "epochs=1", "seeds=0", "device=cpu")
    assert code == 0
    assert not (results_dir / "small_table1").exists()
    assert not (results_dir / "records").exists()
    cells = lines(results_dir / "reduced" / "small_table1" / "reduced_small_table1.csv")
    assert cells["Dense", "test/accuracy"]["mean"] != ""
    assert {cell["verdict"] for cell in cells.values()} == {""}
    assert "table=small_table1 epochs=1 " in cells["Dense", "test/accuracy"]["command"]
    call(reproduce, "table=small_table1", "render=true")
    cells = lines(results_dir / "small_table1" / "small_table1.csv")
    assert {cell["verdict"] for cell in cells.values()} == {"NOT RUN"}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("dessilbi_tickets", "iterative@0.01"),  # phases, and rewinding
        ("lifted_figure8", "SGD-BP (1,500 epochs)"),  # a row with a length of its own
        ("dessilbi_table4", ""),
    ],
)
def test_every_phase_of_every_row_can_be_shortened(name, row):
    table = load_table(name)
    part = table.used_parts()[0]
    label = row or next(iter(table.rows))
    whole = table.config(label, 0, part=part)
    table.shortened = 1
    config = table.config(label, 0, part=part)
    assert max(phase.epochs for phase in whole.run_phases()) > 1
    assert max(phase.epochs for phase in config.run_phases()) == 1
    config.check_order()


def test_wrong_results_folder_is_noticed_before_training(call, tmp_path):
    code, _, err = call(reproduce, "table=small_table1", f"results_dir={tmp_path / 'empty'}")
    assert code == 1
    assert "published numbers" in err
    assert not (tmp_path / "runs").exists()


def test_failed_row_does_not_stop_the_others(call, results_dir, small_table):
    small_table.rows["Dense"].overrides.append("method.lr=1e30")
    code, _, err = call(reproduce, "table=small_table1", "seeds=0", "device=cpu")
    assert code == 1
    assert "error: failed: Dense, seed 0: train/loss became nan" in err
    assert len(list((results_dir / "records").rglob("summary.json"))) == 1


def test_time_budget_stops_and_the_next_call_goes_on(small_table, results_dir, local):
    records = results_dir / "records"
    jobs = plan(small_table, at(records, *local), rows=["Dense"], seeds=[0])
    with pytest.raises(Interrupted, match="time budget"):
        run_missing(jobs, records, deadline=time.monotonic() - 1)
    assert not records.exists()
    with pytest.raises(Interrupted, match="time budget"):
        attempt(jobs[0].config, deadline=time.monotonic() - 1)  # begun before it was looked at
    assert run_directory(jobs[0].config).checkpoint.is_file()
    assert run_missing(jobs, records, deadline=None) == []
    assert len(list(records.rglob("summary.json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "table= is missing"),
        (["table=nosuch"], "table=nosuch is unknown: choose one of all_methods, bregman_"),
        (["table=small_table1", "rows=[Nosuch]"], "it has Dense, Sparse, Huge"),
        (["table=small_table1", "time_budget=soon"], "write 90s, 9m or 1.5h"),
        (["table=small_table1", "results_dir=nowhere", "render=true"], "are missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_arguments_are_one_line(call, results_dir, arguments, says):
    code, _, err = call(reproduce, *arguments)
    assert code == 1
    assert says in err
    assert len(err.strip().splitlines()) == 1


#: rows of which the paper prints nothing, there for the sake of extra columns
UNPUBLISHED = {
    "lifted_figure7": {
        "SGD-BP",
        "ISGD-BP",
        "SGD-BP (lr=0.02)",
        "ISGD-BP (lr=0.02)",
        "LBN (threshold 0.09)",
        "LBN (alternating, rho=1, threshold 0.09)",
    },
    "fno_figure3": {f"CNN {size} converted by a clean cut" for size in ("3x3", "28x28")},
}


COMMITTED = sorted(
    path.stem for kind in ("table", "figure") for path in (ROOT / "configs" / kind).glob("*.yaml")
)


@pytest.mark.parametrize("name", COMMITTED)
def test_every_committed_table_fits_its_published_numbers(name):
    table = load_table(name)
    assert table.name == name
    source = ROOT / "results" / "published" / f"{name}.csv"
    if table.ours:
        assert not source.exists()
        assert all(column.unit in UNITS for column in table.columns.values())
        return
    published = read_published(source)
    labels = {row for row, _ in published}
    unpublished = {row for row in table.rows if not {row, row.rpartition("@")[0]} & labels}
    assert unpublished == UNPUBLISHED.get(name, set())
    assert not unpublished or any(column.extra for column in table.columns.values())
    assert all(table.column(column) is not None for _, column in published)
    for label, row in table.rows.items():
        assert all(table.column(column) is not None for column in row.steered)
        assert table.config(label, 0).experiment_name in (name, table.experiment)


def test_record_names_no_folder_of_this_machine(make_run, tmp_path):
    directory, record = make_run
    assert str(tmp_path) in directory.config.read_text()
    for file in filter(Path.is_file, record.path.rglob("*")):
        assert str(tmp_path).encode() not in file.read_bytes()
    assert read_config(record).data.root == "data"


def test_load_run_gives_the_network_back(make_run):
    directory, record = make_run
    full, kept = load_run(directory.path), load_run(record.path)
    inputs = torch.rand(5, 1, 8, 8)
    assert torch.equal(full(inputs), kept(inputs))
    assert not full.training
    best = load_run(directory.path, selection="best")
    assert set(best.state_dict()) == set(full.state_dict())
    with pytest.raises(BenchError, match=r"were not kept .*: give its run directory, or delete it"):
        load_run(record.path, selection="best")
    with pytest.raises(BenchError, match="not a finished run"):
        load_run(directory.path.parent)


def test_snapshots_are_kept_and_load(make_run):
    directory, record = make_run
    inputs = torch.rand(5, 1, 8, 8)
    for place in (directory, record):
        start, end = (load_run(place.path, epoch=epoch) for epoch in (0, 2))
        assert (
            measured(start)["density/total"] == directory.read_summary()["initial"]["density/total"]
        )
        assert torch.equal(end(inputs), load_run(place.path)(inputs))
    says = "no weights of epoch 1: choose one of 0, 2, or delete it .* with trainer.snapshots"
    with pytest.raises(BenchError, match=says):
        load_run(record.path, epoch=1)


def test_metric_of_an_epoch(make_run):
    directory, _ = make_run
    find = partial(metric_of, directory, variant="trained", selection="last")
    first, second = directory.read_metrics()
    assert find("train/accuracy") == find("train/accuracy@2") == second["train/accuracy"]
    assert find("train/accuracy@1") == first["train/accuracy"]
    assert find("density/total@0") == directory.read_summary()["initial"]["density/total"]
    assert find("density/total@3") is None
    # Epochs measured the trained network, not what is left of it after a cut.
    assert metric_of(directory, "train/accuracy", variant="thresholded", selection="last") is None


@pytest.fixture
def make_run(tmp_path) -> tuple[RunDirectory, RunDirectory]:
    from bregbench.runs.records import export_record, record_of

    config = compose(
        "method=linbreg",
        "trainer.epochs=2",
        "trainer.snapshots=[0,2]",
        "tracking=none",
        "trainer.device=cpu",
        f"runs_dir={tmp_path / 'runs'}",
    )
    train(config)
    record = record_of(config, tmp_path / "records")
    export_record(run_directory(config), record)
    return run_directory(config), record


def test_evaluate_adds_metrics_to_a_record(call, make_run):
    _, record = make_run
    code, out, _ = call(
        evaluate,
        f"run={record.path}",
        "evaluators=[lipschitz,robustness]",
        "evaluators.robustness.images=20",
        "device=cpu",
    )
    assert code == 0
    assert "lipschitz/upper" in out
    summary = record.read_summary()
    final = summary["final"]["trained"]["last"]
    assert 0 < final["lipschitz/lower"] <= final["lipschitz/upper"]
    assert final["robustness/l2_2"] <= final["robustness/l2_0.1"] <= final["robustness/clean"]
    assert summary["evaluated"][0]["evaluators"] == ["lipschitz", "robustness"]
    assert "test/accuracy" in final  # what was there stays


def test_runs_lists_states_and_moves_records(call, make_run, tmp_path):
    directory, _ = make_run
    killed = RunDirectory(tmp_path / "runs" / "default" / "killed-00000000" / "seed3")
    killed.path.mkdir(parents=True)
    shutil.copyfile(directory.config, killed.config)
    killed.write_status("running", epoch=1, epochs=9)
    killed.append_metrics({"epoch": 1, "seconds": 2.0})
    code, out, _ = call(runs, "list", "runs=runs")
    assert code == 0
    *lines, total = out.splitlines()
    assert total == "2 runs: 1 complete, 1 interrupted"
    states = {line.split()[0]: line for line in lines[1:]}
    assert set(states) == {"complete", "interrupted"}
    assert "1/9" in states["interrupted"]
    assert "0:16" in states["interrupted"]  # eight epochs of two seconds

    assert call(runs, "pack", "runs=runs", "output=moved.tar.gz")[0] == 0
    code, _, err = call(runs, "merge", "archive=moved.tar.gz", "records_dir=elsewhere")
    assert "1 new records" in err
    code, _, err = call(runs, "merge", "archive=moved.tar.gz", "records_dir=elsewhere")
    assert "0 new records, 1 were here already" in err
    (metrics,) = Path("elsewhere").rglob("metrics.jsonl")
    metrics.write_text("{}\n")
    code, _, err = call(runs, "merge", "archive=moved.tar.gz", "records_dir=elsewhere")
    assert code == 1
    assert "differs" in err
    assert call(runs, "show", f"run={directory.path}")[0] == 0
    for bad in (["nosuch"], ["pack", "output=x.zip"], ["merge", "archive=nosuch.tar.gz"]):
        code, _, err = call(runs, *bad)
        assert code == 1
        assert len(err.strip().splitlines()) == 1


def packed(run: RunDirectory, changes: dict, archive: Path) -> Path:
    """An archive with a copy of a record whose summary says something else."""
    changed = RunDirectory(archive.parent / "changed")
    shutil.copytree(run.path, changed.path)
    write_json(changed.summary, run.read_summary() | changes)
    with tarfile.open(archive, "w:gz") as file:
        file.add(changed.path, arcname="anywhere")
    shutil.rmtree(changed.path)
    return archive


def test_merge_brings_evaluations_that_are_missing(make_run, tmp_path):
    _, record = make_run
    before = record.read_summary()
    final = copy.deepcopy(before["final"])
    final["trained"]["last"]["lipschitz/upper"] = 7.0
    final["trained"]["best"] = {"lipschitz/lower": 3.0}
    entry = {"evaluators": ["lipschitz"], "selection": "last", "variant": "trained"}
    archive = packed(record, {"final": final, "evaluated": [entry]}, tmp_path / "a.tar.gz")
    first = merge(archive, tmp_path / "records")
    assert (len(first.new), len(first.known), first.known) == (0, 1, first.completed)
    after = record.read_summary()
    assert after["evaluated"] == [entry]
    assert after["final"]["trained"]["last"] == final["trained"]["last"]
    assert after["final"]["trained"]["best"] == before["final"]["trained"]["best"] | {
        "lipschitz/lower": 3.0
    }
    again = merge(archive, tmp_path / "records")
    assert (len(again.known), again.completed) == (1, [])
    final["trained"]["last"]["lipschitz/upper"] = 8.0
    other = packed(record, {"final": final, "evaluated": [entry | {"finished": "later"}]}, archive)
    with pytest.raises(BenchError, match="measure lipschitz/upper differently: remove one"):
        merge(other, tmp_path / "records")
    assert record.read_summary() == after


@pytest.mark.parametrize(
    "changes",
    [
        {"experiment_name": "../../outside"},
        {"experiment_name": "/outside"},
        {"experiment_name": ""},
        {"name": "../../../outside"},
        {"hash": "a/b"},
        {"seed": "0/../../../../outside"},
    ],
    ids=str,
)
def test_merge_writes_nothing_outside_the_records(make_run, tmp_path, changes):
    archive = packed(make_run[1], changes, tmp_path / "a.tar.gz")
    with pytest.raises(BenchError, match="has no address of a record"):
        merge(archive, tmp_path / "deep" / "records")
    assert not (tmp_path / "deep").exists()
    assert not list(tmp_path.rglob("*outside*"))


def test_runs_list_goes_on_past_damaged_ones(call, make_run, tmp_path):
    directory, _ = make_run
    for name, file in (("a", "summary.json"), ("b", "config.json"), ("c", "status.json")):
        broken = tmp_path / "runs" / "default" / f"{name}-00000000" / "seed3"
        shutil.copytree(directory.path, broken)
        if name == "c":
            (broken / "summary.json").unlink()
        (broken / file).write_text("{")
    code, out, _ = call(runs, "list", "runs=runs")
    assert code == 0
    states = [line.split()[0] for line in out.splitlines()[1:-1] if line[:2].strip()]
    assert sorted(states) == ["complete", "damaged", "damaged", "damaged"]
    assert "summary.json is damaged" in " ".join(out.split())


def test_evaluate_looks_for_data_where_the_run_did(call, make_run, tmp_path, monkeypatch):
    directory, _ = make_run
    plain = directory.read_config()
    plain["data"] = {"kind": "mnist", "root": str(tmp_path / "mine")}
    write_json(directory.config, plain)
    monkeypatch.setattr(
        "bregbench.runs.evaluate.load_run", lambda *args, **options: torch.nn.ReLU()
    )
    for given, root in (((), "mine"), (("data_root=other",), "other")):
        code, _, err = call(evaluate, f"run={directory.path}", "device=cpu", *given)
        assert code == 1
        assert f"data_root={tmp_path / root} and could not" in err
        assert "set data_root to the folder" in err
        assert "data.root" not in err
        assert "data.download" not in err


def test_search_finds_a_value_and_leaves_a_trace(call, results_dir, small_table):
    small_table.rows["Sparse"].overrides[:] = ["method=linbreg", "method.lam=0.01"]
    arguments = ("table=small_table1", "row=Sparse", "target=10", "tolerance=0.2", "most=6")
    code, _, err = call(search, *arguments, "device=cpu")
    assert code == 0, err
    (trace,) = (results_dir / "searches" / "small_table1").glob("*.json")
    found = json.loads(trace.read_text())
    metrics = {point["value"]: point["metric"] for point in found["points"]}
    assert abs(metrics[found["chosen"]] / 10 - 1) <= 0.2
    assert len(found["points"]) <= 6
    code, _, err = call(search, *arguments, "column=test/accuracy")
    assert "looks at test data" in err


def test_search_takes_the_best_of_given_values(call, results_dir, small_table):
    arguments = ("table=small_table1", "row=Dense", "key=method.lr", "column=validation/accuracy")
    code, _, err = call(search, *arguments, "values=[0.0001,0.1]", "device=cpu")
    assert code == 0, err
    found = json.loads((results_dir / "searches/small_table1/dense-method-lr.json").read_text())
    assert found["chosen"] == 0.1
    assert [point["value"] for point in found["points"]] == [0.0001, 0.1]
    assert found["target"] is None


@pytest.mark.slow
def test_queue_works_in_processes_and_writes_no_results(call, results_dir, tmp_path):
    (results_dir / "priority.yaml").write_text(
        "items:\n- {table: small_table1, rows: [Dense], seeds: [0]}\n- {table: small_table1}\n"
    )
    before = sorted(results_dir.rglob("*"))
    code, out, err = call(results_next, "budget=24h", "workers=2", "device=cpu")
    assert code == 0, err
    assert "4 of 4 runs missing" in out
    assert sorted(results_dir.rglob("*")) == before
    code, out, _ = call(status)
    assert "0 of 4 runs missing" in out
    code, *_ = call(reproduce, "table=small_table1", "train=false")
    assert len(list((results_dir / "records").rglob("summary.json"))) == 4


def test_queue_leaves_out_what_wants_cuda(call, results_dir, small_table, monkeypatch):
    (results_dir / "priority.yaml").write_text("items:\n- {table: small_table1, seeds: [0]}\n")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    small_table.cuda = True
    _, out, _ = call(status)
    assert "2 runs wait for a machine with CUDA" in out
    assert "0 of 0 runs missing" in out
    _, out, _ = call(status, "device=cpu")
    assert "2 of 2 runs missing" in out


def test_sparse_weights_survive_a_round_trip(tmp_path):
    dense, sparse = torch.randn(4, 5), torch.zeros(30, 40)
    sparse[3, 7], sparse[29, 39] = 1.5, -2.0
    counter = torch.tensor(7)
    save_sparse(tmp_path / "w.safetensors", {"a": dense, "b.c": sparse, "n": counter})
    loaded = load_sparse(tmp_path / "w.safetensors")
    assert torch.equal(loaded["a"], dense)
    assert torch.equal(loaded["b.c"], sparse)
    assert torch.equal(loaded["n"], counter)
    assert (tmp_path / "w.safetensors").stat().st_size < sparse.nbytes / 2


@pytest.mark.parametrize("label", list(load_table("bregman_table3").rows))
def test_rows_of_table_3_train_on_a_small_network(label, tmp_path):
    """What needs a GPU at full size runs here on 40 made-up images."""
    generator = np.random.default_rng(0)
    arrays = {
        f"{split}_{kind}": generator.integers(0, high, (count, *shape), dtype=np.uint8)
        for split, count in (("train", 40), ("test", 10))
        for kind, high, shape in (("images", 256, (32, 32, 3)), ("labels", 10, ()))
    }
    np.savez(tmp_path / "small.npz", **arrays)  # pyright: ignore[reportArgumentType]
    table = load_table("bregman_table3")
    config = table.config(
        label,
        0,
        local_place(
            f"data.path={tmp_path / 'small.npz'}",
            "data.verify=false",
            "data.validation=8",
            "model.width=2",
            "trainer.batch_size=16",
            "trainer.epochs=1",
            "trainer.device=cpu",
            f"runs_dir={tmp_path / 'runs'}",
        ),
    )
    train(config)
    find = partial(
        metric_of, run_directory(config), variant=table.rows[label].variant, selection="last"
    )
    assert all(find(column) is not None for column in table.columns)
    density = find("density/total") or 0.0
    if label.endswith("+ thresh."):
        share = next(o for o in table.rows[label].overrides if o.startswith("method.cut.density"))
        # Where LinBreg has switched on less than that, nothing is cut.
        assert density <= float(share.partition("=")[2]) + 1e-3
    dense = {"Vanilla SGD with momentum", "Vanilla Adam", "Lasso Adam"}
    assert (density > 0.99) == (label in dense)


def test_table_of_long_runs_does_not_start_on_a_cpu(call, results_dir, small_table):
    small_table.cuda = True
    small_table.missing = "needs CUDA"
    code, _, err = call(reproduce, "table=small_table1")
    if torch.cuda.is_available():
        return
    assert code == 1
    assert "want CUDA, and there is none here" in err
    cells = lines(results_dir / "small_table1" / "small_table1.csv")
    assert cells["Dense", "test/accuracy"]["reason"] == "needs CUDA"
    assert call(reproduce, "table=small_table1", "rows=[Dense]", "seeds=[0]", "device=cpu")[0] == 0


def test_extra_columns_and_claims(call, results_dir, small_table):
    small_table.columns["lipschitz/lower"] = Column(extra=True, metric="l1_norm")
    small_table.claims = [
        Claim("dense is denser", "density/total", above="Dense", below=["Sparse"]),
        Claim("sparse is denser", "density/total", above="Sparse", below=["Dense"]),
        Claim("open", "density/total", above="Dense", below=["Sparse", "Unknown"]),
    ]
    code, _, err = call(reproduce, "table=small_table1", "device=cpu")
    assert code == 0, err
    folder = results_dir / "small_table1"
    cells = lines(folder / "small_table1.csv")
    assert float(cells["Dense", "lipschitz/lower"]["mean"]) > 1
    assert cells["Dense", "lipschitz/lower"]["verdict"] == "-"
    assert ("Unknown", "lipschitz/lower") not in cells
    with (folder / "small_table1.claims.csv").open(newline="") as file:
        claims = {line["claim"]: line for line in csv.DictReader(file)}
    assert claims["dense is denser"]["verdict"] == "PASS"
    assert claims["dense is denser"]["reason"].endswith("to Sparse (n=2; sign-flip p=0.5)")
    assert claims["sparse is denser"]["verdict"] == "FAIL"
    assert claims["open"]["verdict"] == "NOT RUN"
    assert claims["open"]["reason"] == "no common seeds with Unknown"
    assert "| dense is denser | PASS | +9" in (folder / "small_table1.md").read_text()
    assert "fewer than 6 seeds" in (folder / "small_table1.md").read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.rows["Dense"].steered.append("density/totl"), "did you mean density/total"),
        (lambda t: t.rows["Dense"].constructed.append("densty/*"), "constructed names densty/*"),
        (lambda t: t.rows["Dense"].metrics.update({"test/acuracy": "m"}), "rows.Dense.metrics"),
        (lambda t: t.columns["test/accuracy"].beside.append("density"), "test/accuracy.beside"),
        (lambda t: t.columns["density/total"].against.append("test"), "density/total.against"),
        (
            lambda t: t.claims.append(Claim("c", "test", "Dense", ["Sparse"])),
            "claims[0] names test",
        ),
        (
            lambda t: t.claims.append(Claim("c", "test/accuracy", "Dnse", ["Sparse"])),
            "claims[0] names row Dnse",
        ),
        (lambda t: t.claims.append(Claim("c", "test/accuracy", "Dense", [])), "with nothing"),
        (
            lambda t: t.claims.append(Claim("c", "test/accuracy", "Dense", ["Sparse"], margin=-1)),
            "margin=-1",
        ),
    ],
)
def test_names_that_nothing_stands_behind_are_refused(small_table, change, says):
    small_table.check()
    change(small_table)
    with pytest.raises(BenchError, match=re.escape(says)):
        small_table.check()


def test_patterns_mean_points_of_a_curve(small_table):
    small_table.rows["Dense"].constructed = ["density/total@*", "*/accuracy@0"]
    small_table.check()
    assert named("density/total@2", ["density/total@*"])
    assert not named("density/total", ["density/total@*"])
    assert named("a[1]", ["a[1]"])
    assert not named("a1", ["a[1]"])


def test_density_is_better_only_where_the_accuracy_beside_it_holds(
    call, results_dir, small_table, local
):
    small_table.columns["density/total"].against = ["test/accuracy"]
    assert call(reproduce, "table=small_table1", "rows=[Dense]", "device=cpu")[0] == 0
    published = {
        ("Dense", "test/accuracy"): Published(50, "%", 60, "made up"),
        ("Dense", "density/total"): Published(200, "%", 1, "made up"),
    }

    def verdicts() -> dict[str, Verdict]:
        rows = fill(small_table, published, at(results_dir / "records", *local))
        return {name: cell.judgement.verdict for name, cell in rows[0].cells.items()}

    assert verdicts() == {"test/accuracy": Verdict.PASS, "density/total": Verdict.BETTER}
    published["Dense", "test/accuracy"] = Published(150, "%", 1, "made up")
    # The accuracy is judged beside the density, which is another point on the trade-off now.
    assert verdicts() == {
        "test/accuracy": Verdict.INCONCLUSIVE,
        "density/total": Verdict.INCONCLUSIVE,
    }


def test_row_that_moved_along_a_trade_off_is_said_once(call, results_dir, small_table):
    for name, other in (("test/accuracy", "density/total"), ("density/total", "test/accuracy")):
        small_table.columns[name] = Column(Better.higher, against=[other])
    (results_dir / "published" / "small_table1.csv").write_text(
        "row,column,value,unit,margin,source\n"
        "Dense,test/accuracy,500,%,1,made up\nDense,density/total,1,%,1,made up\n"
    )
    assert call(reproduce, "table=small_table1", "rows=[Dense]", "device=cpu")[0] == 0
    text = (results_dir / "small_table1" / "small_table1.md").read_text()
    assert (
        text.count("Dense lies elsewhere on a trade-off: density/total above, test/accuracy") == 1
    )
