"""Tables whose columns have runs of their own, and the solution path of DessiLBI's Figure 1."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import torch
from torch import nn

from bregbench.figures.dessilbi import SolutionPath, draw_solution_path, first_selected
from bregbench.figures.specs import load_table
from bregbench.foundations.errors import BenchError
from bregbench.papers.dessilbi.method import Dessilbi
from bregbench.reproduce.plan import plan
from bregbench.runs.train import run_directory, train
from bregbench.tables.cells import fill
from bregbench.tables.published import Published
from bregbench.tables.rendering import to_csv, to_markdown
from bregbench.tables.spec import Column, Part, Row, Table
from dessilbi import DessiLBI
from tests.places import at, local_place

PUBLISHED = {
    (row, column): Published(90.0, "%", 20.0, "made up")
    for row in ("Plain", "Wide", "Quoted")
    for column in ("Small test/accuracy", "Large test/accuracy", "dense test/accuracy", "units")
}


@pytest.fixture
def table() -> Table:
    return Table(
        name="small_table2",
        title="A table in parts",
        seeds=[0],
        common=["dataset=digits", "model=mlp", "trainer.epochs=1", "data.limit=200"],
        parts={
            "Small": ["model.hidden=[4]"],
            "Large": ["model.hidden=[30]"],
            "dense": ["method=sgd", "model.hidden=[6]"],
        },
        details={
            "Small": Part(rows={"Wide": ["model.hidden=[5]"]}),
            "Large": Part(cuda=True, missing="too long for a CPU"),
            "dense": Part(shared=True),
        },
        columns={
            "Small test/accuracy": Column(),
            "Large test/accuracy": Column(),
            "dense test/accuracy": Column(),
            "units": Column(part="dense", metric="active_units/linear1"),
        },
        rows={
            "Plain": Row(["method=sgd"]),
            "Wide": Row(["method=adam"], metrics={"units": "active_units/linear2"}),
            "Quoted": Row(not_run="a method of others"),
        },
    )


def test_parts_have_runs_of_their_own(table):
    hidden = {
        (row, part): table.config(row, 0, part=part).model.hidden  # type: ignore[attr-defined]
        for row in ("Plain", "Wide")
        for part in table.used_parts()
    }
    assert hidden == {
        ("Plain", "Small"): [4],
        ("Wide", "Small"): [5],
        ("Plain", "Large"): [30],
        ("Wide", "Large"): [30],
        ("Plain", "dense"): [6],
        ("Wide", "dense"): [6],
    }
    assert table.config("Wide", 0, part="dense").method.kind == "sgd"  # shared: not the row's


def test_plan_lists_shared_runs_once(table, tmp_path):
    jobs = plan(table, at(tmp_path), rows=[], seeds=[0])
    assert [job.label for job in jobs] == [
        *("Plain, Small", "Plain, Large", "Plain, dense", "Wide, Small", "Wide, Large"),
    ]
    assert [job.cuda for job in jobs] == [False, True, False, False, True]
    assert len(plan(table, at(tmp_path), rows=["Wide"], seeds=[0, 1], parts=["Small"])) == 2
    with pytest.raises(BenchError, match=r"parts=\['Medium'\] are not in .* Small, Large, dense"):
        plan(table, at(tmp_path), rows=[], seeds=[0], parts=["Medium"])


def test_cells_of_parts_show_their_runs(table, tmp_path):
    local = (f"runs_dir={tmp_path / 'runs'}", "trainer.device=cpu")
    jobs = plan(table, at(tmp_path, *local), rows=[], seeds=[0], parts=["Small", "dense"])
    accuracies = {}
    for job in jobs:
        final = train(job.config)["final"]["trained"]["last"]
        accuracies[job.label] = 100 * final["test/accuracy"]
    rows = fill(table, PUBLISHED, at(tmp_path / "records", *local))
    cells = {(row.label, name): cell for row in rows for name, cell in row.cells.items()}
    for label in ("Plain", "Wide"):
        small = cells[label, "Small test/accuracy"]
        assert small.values == pytest.approx([accuracies[f"{label}, Small"]])
        dense = cells[label, "dense test/accuracy"]
        assert dense.values == pytest.approx([accuracies["Plain, dense"]])
        assert cells[label, "Large test/accuracy"].judgement.reason == "too long for a CPU"
        assert cells[label, "units"].values == [100.0]
    assert cells["Quoted", "units"].judgement.reason == "a method of others"
    found = list(csv.DictReader(io.StringIO(to_csv(table, rows, verdicts=True))))
    sources = {(line["row"], line["column"]): line for line in found}
    assert "'parts=[\"Small\"]'" in sources["Plain", "Small test/accuracy"]["command"]
    assert sources["Plain", "Large test/accuracy"]["record"] == ""
    dense = {sources[label, "units"]["record"] for label in ("Plain", "Wide")}
    assert len(dense) == 1
    text = to_markdown(table, rows, verdicts=True)
    assert "- Plain, Small: seeds 0" in text
    assert "Large: seeds" not in text


def test_unknown_parts_are_refused(table):
    table.columns["units"].part = "Medium"
    with pytest.raises(BenchError, match=r"columns\.units\.part names Medium, which is not there"):
        table.check()


def test_tables_of_dessilbi_share_the_runs_that_they_repeat():
    third, seventh = load_table("dessilbi_table3"), load_table("dessilbi_table7")
    for net in ("ResNet56", "VGG16"):
        pruned = third.config("Layer Selection", 0, part=net)
        assert seventh.config(net, 0).hashed_name == pruned.hashed_name
        dense = third.config("Layer Selection", 0, part=f"{net} dense")
        assert seventh.config(net, 0, part="dense").hashed_name == dense.hashed_name
        filters = third.config("DessiLBI FT 60", 0, part=f"{net} dense")
        assert filters.hashed_name != dense.hashed_name  # another nu
    assert (third.experiment, seventh.experiment) == ("", third.name)
    sixth = load_table("dessilbi_table6")
    assert not sixth.wants_cuda("MNIST LeNet")
    assert sixth.wants_cuda("CIFAR10 ResNet-20")


@pytest.mark.parametrize("net", ["ResNet50", "VGG16"])
def test_dense_networks_of_dessilbi_table_2_are_those_that_pruning_starts_from(net):
    """SGD's where sparse networks start from SGD, DessiLBI's where they start from DessiLBI."""
    table = load_table("dessilbi_table2")
    runs: dict[str, set[str]] = {}
    for label in table.rows:
        dense = table.config(label, 0, part=f"{net} dense")
        sparse = table.config(label, 0, part=net)
        (phase,), first = dense.run_phases(), sparse.run_phases()[0]
        assert phase.method == first.method
        assert phase.epochs == 200
        assert [phase.schedule.build(200).factor, dense.model] == [1.0, sparse.model]
        runs.setdefault(phase.method.kind, set()).add(dense.hashed_name)
    assert {kind: len(names) for kind, names in runs.items()} == {"sgd": 1, "dessilbi": 1}


def test_rows_of_the_coupling_take_gamma_from_some_layers_and_share_runs():
    table, starts = load_table("dessilbi_coupling"), load_table("dessilbi_starts")
    shared = {"nu = 10": "torch default, nu = 10", "nu = 100": "torch default, nu = 100"}
    shared |= {"He-normal": "He-normal, nu = 10"}
    assert table.experiment == starts.name
    for row, other in shared.items():
        begun = starts.config(other, 0, part="Naive")
        assert table.config(row, 0).hashed_name == begun.hashed_name
    uncoupled = {
        "nu = 10": set(),
        "first convolution uncoupled": {"conv1"},
        "convolutions uncoupled": {"conv1", "conv2", "conv3"},
        "linear layers uncoupled": {"linear1", "linear2"},
    }
    for row, without in uncoupled.items():
        config = table.config(row, 0)
        assert isinstance(config.method, Dessilbi)
        network = config.model.build(input_shape=(1, 28, 28), classes=10)
        groups = config.method.penalty.groups(network, config.method.lam)
        optimizer = DessiLBI(groups, 0.1, nu=10)
        layers = {
            name for name, weight in network.named_parameters() if not optimizer.has_gamma(weight)
        }
        found = {name.removesuffix(".weight") for name in layers if name.endswith(".weight")}
        assert found == without, row


def test_start_and_dual_have_a_constant_sum_without_a_gradient():
    """What `dessilbi_coupling` rests on: the coupling takes from W what it gives to V (kappa = 1)."""
    layer = nn.Linear(7, 5, bias=False, dtype=torch.float64)
    start = layer.weight.detach().clone()
    optimizer = DessiLBI(layer.parameters(), lr=0.1, penalty="l1", lam=1.0, nu=10)
    for _ in range(200):
        layer.weight.grad = torch.zeros_like(layer.weight)
        optimizer.step()
    assert torch.allclose(layer.weight + optimizer.dual(layer.weight), start, atol=1e-14)
    assert layer.weight.norm() < 0.2 * start.norm()
    assert optimizer.gamma(layer.weight).count_nonzero() == 0


def test_dessilbi_says_where_it_trains_in_bf16():
    for number in range(1, 8):
        table = load_table(f"dessilbi_table{number}")
        parts = [*table.parts.values(), []]
        if any("trainer.precision=bf16" in [*table.common, *part] for part in parts):
            assert any("bf16" in remark for remark in table.remarks), table.name


def test_solution_path_is_drawn_from_traces(tmp_path):
    gammas = np.array([[0, 0, 0], [0, 0.5, 0], [0.1, 0.7, 0]])
    assert list(first_selected(gammas)) == [2.0, 1.0, np.inf]
    figure = load_table("dessilbi_figure1")
    assert isinstance(figure, SolutionPath)
    large = ("dataset", "model", "trainer.snapshots")
    figure.common = [given for given in figure.common if not given.startswith(large)]
    path = tmp_path / "path.png"
    small = (
        *("dataset=digits", "data.limit=64", "trainer.epochs=1", "trainer.device=cpu"),
        *("model=cnn", "model.channels=[4,4,4]", "model.kernel_size=1"),
        f"runs_dir={tmp_path / 'runs'}",
    )
    runs = {}
    for label in figure.rows:
        config = figure.config(label, 0, local_place(*small))
        train(config)
        runs[label] = run_directory(config)
    draw_solution_path(runs["DessiLBI"], layer=figure.layer, output=path)
    assert path.stat().st_size > 10_000
    with pytest.raises(BenchError, match=r"train it with method\.trace=conv3"):
        draw_solution_path(runs["SGD"], layer=figure.layer, output=path)
