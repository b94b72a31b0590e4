"""Figures that are not curves, drawn from records of small runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bregbench.figures import dessilbi as structure_pictures
from bregbench.figures import lifted as codes
from bregbench.figures import trade_off
from bregbench.figures.base import Figure
from bregbench.figures.curves import Curves
from bregbench.figures.pictures import ActiveUnits, FeatureMaps, Reconstructions
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import write_json
from bregbench.runs.train import run_directory, train
from bregbench.storage.directory import RunDirectory
from bregbench.storage.traces import traces_of
from bregbench.tables.cells import FilledRow, fill
from bregbench.tables.published import Published
from bregbench.tables.rendering import to_csv
from bregbench.tables.spec import Column, Row
from bregbench.tables.verdicts import Verdict
from tests.places import at, local_place

COMMON = ["dataset=digits", "trainer.epochs=2", "method.start.density=0.5"]
DENOISE = ["task=denoise", "model=mlp_autoencoder", "model.hidden=[16]"]


def number(value: float, unit: str = "1") -> Published:
    return Published(value, unit, 1000.0, "made up")


def drawn(figure: Figure, published, tmp_path: Path, *, train_first: bool = True):
    """Train the rows of a figure, then fill and draw it: its rows and files."""
    local = ("trainer.device=cpu", f"runs_dir={tmp_path / 'runs'}")
    if train_first:
        for label in figure.rows:
            train(figure.config(label, 0, local_place(*local)))
    rows = fill(figure, published, at(tmp_path / "records", *local))
    folder = tmp_path / "drawn"
    return rows, figure.draw_files(rows, published, folder)


def picture(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)


def test_feature_maps(tmp_path, capsys):
    figure = FeatureMaps(
        name="maps",
        title="Maps",
        seeds=[0],
        layer="conv1",
        epochs=[0, 2],
        common=[
            *COMMON,
            *("model=cnn", "model.kernel_size=2", "model.channels=[4,4]", "method=linbreg"),
        ],
        columns={"active_units/conv1": Column()},
        rows={"A": Row(["trainer.snapshots=[0,2]", "evaluators=[accuracy,feature_maps]"])},
    )
    published = {("A", f"active_units/conv1@{epoch}"): number(4, "of 64") for epoch in (0, 2)}
    rows, paths = drawn(figure, published, tmp_path)
    assert [path.name for path in paths] == ["maps.png", "maps.pdf"]
    assert picture(paths[0]).std() > 0.05  # something is on it
    cells = rows[0].cells
    assert all(cell.judgement.verdict is Verdict.PASS for cell in cells.values())
    initial = run_directory(
        figure.config("A", 0, local_place(f"runs_dir={tmp_path / 'runs'}"))
    ).read_summary()["initial"]
    assert cells["active_units/conv1@0"].values == [64 * initial["active_units/conv1"]]

    figure.epochs = [0, 1]  # of which no weights were kept
    for path in paths:
        path.unlink()
    _, paths = drawn(figure, published, tmp_path, train_first=False)
    assert paths == []
    assert "note: maps is not drawn" in capsys.readouterr().err
    assert not list((tmp_path / "drawn").iterdir())


def test_active_units_and_reconstructions_share_their_runs(tmp_path):
    evaluators = "evaluators=[accuracy,density,reconstruction]"
    rows = {
        "Sparse": Row(["method=linbreg", "method/penalty=rows", "method.start.by=row"]),
        "Dense": Row(["method=sgd"]),
    }
    active = ActiveUnits(
        name="active",
        experiment="denoising",
        title="Active",
        seeds=[0],
        epochs=[0, 1, 2, 3],  # the last one, which there is not, leaves a gap
        common=[*COMMON, *DENOISE, evaluators],
        columns={f"active_units/linear{layer}": Column() for layer in (1, 2)},
        rows=rows,
    )
    points = {
        (row, f"active_units/linear{layer}@{epoch}"): number(1)
        for row in rows
        for layer in (1, 2)
        for epoch in (0, 2)
    }
    _, (png, _) = drawn(active, points, tmp_path)
    assert picture(png).std() > 0.05
    images = Reconstructions(
        name="images",
        experiment="denoising",
        title="Images",
        seeds=[0],
        common=active.common,
        columns={"reconstruction/ssim": Column()},
        rows=rows,
    )
    found, (png, _) = drawn(
        images,
        {(row, "reconstruction/ssim"): number(0.5) for row in rows},
        tmp_path,
        train_first=False,
    )
    assert picture(png).std() > 0.05
    assert to_csv(images, found, verdicts=True).count("PASS") == 2


def test_figure_without_runs_has_no_files(tmp_path):
    figure = Curves(name="none", title="None", rows={"A": Row(["method=sgd"])})
    _, paths = drawn(figure, {("A", "test/accuracy"): number(1)}, tmp_path, train_first=False)
    assert paths == []


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_same_runs_give_the_same_bytes(tmp_path, ending):
    figure = Curves(
        name="curves",
        title="Curves",
        seeds=[0],
        panels=["train/accuracy"],
        common=COMMON,
        columns={"train/accuracy": Column()},
        rows={"A": Row(["method=linbreg"])},
    )
    published = {("A", "train/accuracy@2"): number(1)}
    files = []
    for _ in range(2):
        _, paths = drawn(figure, published, tmp_path)
        files.append(next(p for p in paths if p.suffix == f".{ending}").read_bytes())
    assert files[0] == files[1]


def test_what_training_alone_makes_is_not_asked_of_a_finished_run(tmp_path):
    run = RunDirectory(tmp_path)
    finders = (
        codes._trace,
        lambda run: traces_of(run, "curve"),
        lambda run: structure_pictures.final_norms(run, "weights"),
    )
    for find in finders:
        with pytest.raises(
            BenchError, match=r"delete it \(run directory and record\) and train it"
        ):
            find(run)
    final = {"trained": {"best": {"density/total": 1.0}}}
    write_json(run.summary, {"final": final, "best": {"epoch": 1}})
    says = rf"bregbench evaluate run={tmp_path} evaluators=\[structure\] selection=best adds it"
    with pytest.raises(BenchError, match=says):
        structure_pictures._by_layer(run, "width", "best")
    row = FilledRow("A", {}, {0: run})
    with pytest.raises(
        BenchError, match=rf"not measured lipschitz/upper: add it with .*{tmp_path}"
    ):
        trade_off._point(row, "lipschitz/upper", "density/total", "best")
