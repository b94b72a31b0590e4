"""Tables and figures of the lifted paper: rows of several runs, pictures of both splits, functions."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from bregbench.cli import reproduce
from bregbench.figures.base import Figure
from bregbench.figures.lifted import loss_curves
from bregbench.figures.pictures import Reconstructions
from bregbench.figures.specs import load_table
from bregbench.reproduce.plan import plan
from bregbench.runs.train import run_directory, train
from bregbench.tables import read_published
from bregbench.tables.cells import fill, metric_of
from bregbench.tables.claims import judge_claim
from bregbench.tables.published import Published
from bregbench.tables.rendering import to_csv, to_markdown
from bregbench.tables.spec import Claim, Column, Row, Table
from bregbench.training.trainer import Training
from tests.places import ROOT, at, local_place

SPECIFIED = sorted(
    path.stem
    for group in ("table", "figure")
    for path in ROOT.glob(f"configs/{group}/lifted_*.yaml")
)
#: what makes a run of a figure small: later overrides win
TINY = (
    "dataset=digits",
    "data.limit=60",
    "data.validation=100",
    "model.hidden=[12,12,12]",
    "trainer.epochs=1",
    "evaluators.reconstruction.images=3",
    "evaluators.reconstruction.train_images=2",
)


@pytest.fixture
def local(tmp_path: Path) -> tuple[str, ...]:
    return (f"runs_dir={tmp_path / 'runs'}", "trainer.device=cpu")


@pytest.fixture
def parted() -> Table:
    return Table(
        name="parted",
        title="Parts",
        seeds=[0, 1],
        common=["dataset=digits", "model=mlp", "model.hidden=[8]", "trainer.epochs=2"],
        parts={"Few": ["data.limit=100"], "Many": ["trainer.batch_size=16"]},
        columns={
            f"{part} {metric}": Column()
            for part in ("Few", "Many")
            for metric in ("test/accuracy",)
        },
        rows={"A": Row(["method=sgd"]), "B": Row(["method=sgd", "trainer.max_steps=1"])},
        claims=[Claim("more is better", "Many test/accuracy", "A", ["B"])],
    )


def test_columns_of_a_row_come_from_different_runs(parted, local, tmp_path):
    """Row A has two seeds of one part and one of the other; row B has the larger part only."""
    records = tmp_path / "records"
    published = {
        (row, column): Published(50, "%", 100, "made up")
        for row in ("A", "B", "C")
        for column in parted.columns
    }
    jobs = plan(parted, at(records, *local), rows=[], seeds=[0, 1])
    assert len({(job.config.hashed_name, job.config.seed) for job in jobs}) == 8
    for job in jobs:
        many = job.config.data.limit is None
        if many or (job.row, job.config.seed) == ("A", 0):
            train(job.config)
    row, _, unknown = rows = fill(parted, published, at(records, *local))
    for part, limit, seeds in (("Few", 100, [0]), ("Many", 1262, [0, 1])):
        runs = row.runs_of(f"{part} test/accuracy")
        assert list(runs) == seeds
        assert {run.read_summary()["samples"]["train"] for run in runs.values()} == {limit}
        found = [
            metric_of(run, "test/accuracy", variant="trained", selection="last")
            for run in runs.values()
        ]
        assert row.cells[f"{part} test/accuracy"].values == [100 * (x or 0) for x in found]
    assert unknown.cells["Few test/accuracy"].judgement.reason == "no config for this row yet"
    written = list(csv.DictReader(io.StringIO(to_csv(parted, [row], verdicts=True))))
    assert len({line["record"] for line in written}) == 2
    text = to_markdown(parted, rows, verdicts=True)
    assert "- A, Few: seeds 0, " in text
    assert "- A, Many: seeds 0 1, " in text
    # The claim's column has two common seeds, whatever the other part has.
    assert judge_claim(parted.claims[0], rows).reason.endswith("(n=2; sign-flip p=0.5)")


#: table or figure -> those that show the same runs
SHARED = {
    "lifted_table1": ("lifted_table2",),
    "lifted_figure3": ("lifted_figure4", "lifted_figure5", "lifted_figure14"),
    "lifted_figure6": ("lifted_figure9", "lifted_figure10", "lifted_figure15"),
}


@pytest.mark.parametrize("name", sorted(set(SPECIFIED) - {n for ns in SHARED.values() for n in ns}))
def test_every_row_composes(name):
    table = load_table(name)
    part = [*table.parts, ""][0]
    for label in table.rows:
        assert table.config(label, 0, part=part).method.kind == "lifted"


@pytest.mark.parametrize(
    ("label", "last"),
    [
        ("order alternating, lambda 10", 1.0),
        ("order alternating, lambda 10, rho growing to 10", 10.0),
        ("order alternating, lambda 10, rho doubled every 20 epochs", 16.0),
    ],
)
def test_rho_of_the_readings_follows_their_schedules(label, last, local):
    """The schedule's factor divides rho, which is tau / |B| = 1 at first and never falls."""
    config = load_table("lifted_readings").config(label, 0, local_place("dataset=digits", *local))
    training = Training(config, run_directory(config)).begin()
    schedule = training.phases[0].schedule.build(100)
    rhos = []
    for _ in range(100):
        training.method.scale_lr(schedule.factor)
        rhos.append(training.method.end_epoch({})["rho"])
        schedule.end_epoch({})
    assert rhos[0] == pytest.approx(1.0)
    assert rhos == sorted(rhos)
    assert rhos[-1] == pytest.approx(last, rel=0.01)


def test_readings_of_a_fourth_layer_have_a_third_hidden_one():
    table = load_table("lifted_readings")
    for label in table.rows:
        config = table.config(label, 0, part="MNIST")
        network = config.model.build(input_shape=(1, 28, 28), classes=10)
        sizes = [tuple(p.shape) for p in network.parameters() if p.dim() == 2]
        first = [(784, 784), (64, 784)] if label.startswith("784-784-") else [(64, 784)]
        assert sizes == [*first, (64, 64), (10, 64)]


@pytest.mark.parametrize("name", SPECIFIED)
def test_specifications_fit_what_is_published(name):
    table = load_table(name)
    assert table.name == name
    path = ROOT / "results" / "published" / f"{name}.csv"
    assert path.exists() != table.ours
    if not table.ours:
        published = read_published(path)
        unpublished = set(table.rows) - {row for row, _ in published}
        assert {row for row, _ in published} <= set(table.rows)
        assert not unpublished or any(column.extra for column in table.columns.values())
        assert all(table.column(column) is not None for _, column in published)
        assert {table.part(column) for _, column in published} == set(table.parts or [""])


@pytest.mark.parametrize("first", SHARED)
def test_what_shares_runs_asks_for_the_same_ones(first):
    one = load_table(first)
    for name in SHARED[first]:
        other = load_table(name)
        assert other.experiment == first
        assert (other.common, other.parts) == (one.common, one.parts)
        assert other.rows
        for label, row in other.rows.items():
            assert row.overrides == one.rows[label].overrides


def test_rows_of_figure_3_train_and_are_drawn(local, tmp_path):
    figure = load_table("lifted_figure3")
    assert isinstance(figure, Figure)
    figure.common += TINY
    figure.seeds = [0]
    for label in figure.rows:
        train(figure.config(label, 0, local_place(*local)))
    published = {
        (label, "lifted/code_sparsity/layer2@1"): Published(90, "%", 5, "made up")
        for label in figure.rows
    }
    rows = fill(figure, published, at(tmp_path / "records", *local))
    for row in rows:
        for name, cell in row.cells.items():
            assert len(cell.values) == 1, (row.label, name)
    drawn = figure.draw_files(rows, published, tmp_path / "curves")
    assert [path.suffix for path in drawn] == [".png", ".pdf"]
    sizes = {}
    for number, splits in ((4, ["train"]), (14, ["train", "test"])):
        images = load_table(f"lifted_figure{number}")
        assert isinstance(images, Reconstructions)
        assert images.splits == splits
        images.common, images.experiment = figure.common, figure.name
        images.images = 2
        rows = fill(images, {}, at(tmp_path / "records", *local))
        png, _ = images.draw_files(rows, {}, tmp_path / "images")
        sizes[number] = picture(png)
    assert sizes[4][0] == sizes[14][0]  # as many lines
    assert sizes[14][1] > 1.3 * sizes[4][1]  # twice as many columns


def test_training_images_that_were_not_kept_are_named(local, tmp_path, capsys):
    figure = Reconstructions(
        name="images",
        title="Images",
        seeds=[0],
        splits=["train"],
        common=[
            "task=reconstruct",
            "model=mlp_autoencoder",
            *TINY[:-1],
            "evaluators=[reconstruction]",
        ],
        rows={"A": Row(["method=sgd"])},
        columns={"reconstruction/ssim": Column()},
        ours=True,
    )
    figure.common.remove("evaluators.reconstruction.images=3")
    train(figure.config("A", 0, local_place(*local)))
    rows = fill(figure, {}, at(tmp_path / "records", *local))
    assert figure.draw_files(rows, {}, tmp_path) == []
    remedy = "train it again with evaluators.reconstruction.train_images=8"
    assert f"kept no train images: delete it (run directory and record) and {remedy}" in (
        capsys.readouterr().err
    )


def picture(path: Path) -> tuple[int, int]:
    from matplotlib.image import imread

    seen = imread(path)
    assert seen.std() > 0.05  # something is on it
    return seen.shape[:2]


@pytest.mark.parametrize("number", [1, 2])
def test_figures_of_functions_need_no_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["", f"table=lifted_figure{number}"])
    with pytest.raises(SystemExit) as exit_:
        reproduce.main()
    assert exit_.value.code == 0
    written = sorted(path.name for path in (tmp_path / "results").rglob("*.*"))
    assert written == [f"lifted_figure{number}.pdf", f"lifted_figure{number}.png"]
    picture(tmp_path / "results" / f"lifted_figure{number}" / f"lifted_figure{number}.png")


def test_losses_of_figure_2_lie_above_half_squared_distances():
    """Theorem 10, item 4; with equality for the ReLU where z >= 0 (Example 2)."""
    z = torch.linspace(-2, 2, 401, dtype=torch.float64)
    curves = loss_curves(z)
    assert len(curves) == 4
    for pair in curves.values():
        bregman, half = pair["Bregman loss"], pair["half squared distance"]
        assert (bregman >= half - 1e-12).all()
        assert (bregman - half).max() > 0.05
        assert half.min() < 1e-4  # somewhere on the line, x = sigma(z)
    relu = curves["ReLU"]
    above = z >= 0
    torch.testing.assert_close(relu["Bregman loss"][above], relu["half squared distance"][above])
