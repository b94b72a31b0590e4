"""Curves over something else than epochs: a run per point, or a metric per point."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bregbench.figures.base import Figure
from bregbench.figures.fno import (
    derivative_kernel,
    full_spectrum,
    padded_responses,
    resize_half_spectrum,
)
from bregbench.figures.points import Points
from bregbench.figures.specs import load_table
from bregbench.papers.fno import Conversion, Resolution, SpectralResnet18
from bregbench.papers.fno.evaluators import Truncation
from bregbench.reproduce.plan import plan
from bregbench.runs.records import export_record, record_of
from bregbench.runs.train import run_directory, train
from bregbench.schema.config import Config
from bregbench.tables import read_published
from bregbench.tables.cells import fill, finished_runs, metric_of
from bregbench.tables.rendering import to_csv, to_latex, to_markdown
from bregbench.tables.spec import Column, Row
from fno import trigonometric_resize
from tests.places import ROOT, at, local_place

PUBLISHED = ROOT / "results" / "published"
PART = "row,column,value,unit,margin,source\n" + "".join(
    f"{row},test/accuracy@{x},50,%,50,made up{mark}\n"
    for row, xs in (("Trained", (2, 3, 4)), ("Converted", (2, 8)))
    for x in xs
    for mark in ("; excluded: made up" if x == 8 else "",)
)


@pytest.fixture
def figure() -> Points:
    return Points(
        name="small_figure1",
        title="A small figure",
        x="kernel size",
        panels=["Trained", "Conv"],
        seeds=[0, 1],
        common=[
            *("dataset=digits", "model=cnn_circular", "method=adam", "trainer.epochs=1"),
            *("trainer.max_steps=1", "model.channels=[2]", "model.hidden=4"),
        ],
        columns={"test/accuracy": Column()},
        rows={
            "Trained@2": Row(
                [
                    *("model.kernel_size=2", "evaluators=[accuracy,conversion]"),
                    "evaluators.conversion.modes=[2,8]",
                ]
            ),
            "Trained@3": Row(["model.kernel_size=3"]),
            "Converted": Row(
                [
                    *("model.kernel_size=2", "evaluators=[accuracy,conversion]"),
                    "evaluators.conversion.modes=[2,8]",
                ],
                points="conversion/modes_{x}",
            ),
        },
    )


def lines(text: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(line["row"], line["column"]): line for line in csv.DictReader(text.splitlines())}


def test_points_are_runs_or_metrics(figure, tmp_path, local):
    (tmp_path / "small.csv").write_text(PART)
    published = read_published(tmp_path / "small.csv")
    records = tmp_path / "records"
    jobs = plan(figure, at(records, *local), rows=[], seeds=[0])
    assert [job.row for job in jobs] == ["Trained@2", "Trained@3", "Converted"]
    assert jobs[0].config.hashed_name == jobs[2].config.hashed_name
    for job in jobs[:2]:
        train(job.config)
        export_record(run_directory(job.config), record_of(job.config, records))
    shutil.rmtree(tmp_path / "runs")

    rows = fill(figure, published, at(records, *local))
    cells = lines(to_csv(figure, rows, verdicts=True))
    finals = {
        job.row: record_of(job.config, records).read_summary()["final"]["trained"]["last"]
        for job in jobs
    }
    for label, column, metric in (
        ("Trained@2", "test/accuracy@2", "test/accuracy"),
        ("Trained@3", "test/accuracy@3", "test/accuracy"),
        ("Converted", "test/accuracy@2", "conversion/modes_2"),
        ("Converted", "test/accuracy@8", "conversion/modes_8"),
    ):
        line = cells[label.partition("@")[0], column]
        assert float(line["mean"]) == pytest.approx(100 * finals[label][metric], rel=1e-5)
        assert line["record"] == f"small_figure1/{record_of_row(figure, label, records, local)}"
        assert f'rows=["{label}"]' in line["command"]
        assert line["seeds"] == "0"
    # All modes of an 8 x 8 image are the network itself.
    converted = cells["Converted", "test/accuracy@8"]
    assert converted["mean"] == cells["Trained", "test/accuracy@2"]["mean"]
    assert converted["verdict"] == "INCONCLUSIVE"
    assert cells["Trained", "test/accuracy@3"]["verdict"] == "PASS"
    assert cells["Trained", "test/accuracy@4"]["reason"] == "no config for this row yet"
    text = to_markdown(figure, rows, verdicts=True)
    assert text.count("- Trained: seeds 0") == 1
    # A panel is a table of its own, with x down the page.
    upper, lower = text.split("**Conv**")
    assert "| kernel size | Trained [%] |" in upper
    assert [line[:4] for line in upper.splitlines() if line[2:3].isdigit()] == [
        "| 2 ",
        "| 3 ",
        "| 4 ",
    ]
    assert [line[:4] for line in lower.splitlines() if line[2:3].isdigit()] == ["| 2 ", "| 8 "]
    assert to_latex(figure, rows).count(r"\begin{tabular}{lr}") == 2
    assert "`bregbench reproduce table=small_figure1 'rows=[\"Trained\"]'`" in text

    paths = figure.draw_files(rows, published, tmp_path)
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    first = paths[0].read_bytes()
    assert figure.draw_files(rows, published, tmp_path)[0].read_bytes() == first


def record_of_row(figure, label, records, local) -> str:
    return finished_runs(figure, label, at(records, *local))[0].name


def test_label_names_all_its_points(figure, tmp_path, local):
    def planned(*rows: str) -> list[str]:
        return [job.row for job in plan(figure, at(tmp_path, *local), rows=list(rows), seeds=[0])]

    assert planned("Trained") == ["Trained@2", "Trained@3"]
    assert planned("Trained@3", "Converted") == ["Trained@3", "Converted"]
    # Without a row for the point, `@` is the epoch as ever.
    assert figure.metric("Trained", "test/accuracy@2") == "test/accuracy"
    assert load_table("bregman_figure2").metric("SGD", "l1_norm@3") == "l1_norm@3"
    assert load_table("bregman_table1").metric("AdaBreg", "best test/accuracy") == "test/accuracy"


def test_every_published_point_of_the_fno_figures_has_a_metric():
    for name in ("fno_figure3", "fno_figure4"):
        figure = load_table(name)
        published = read_published(PUBLISHED / f"{name}.csv")
        behind = {figure.row_of(label, column) for label, column in published}
        clean = {row for row in figure.rows if row.endswith("converted by a clean cut")}
        assert behind | clean == set(figure.rows)
        for row in clean:
            # The same runs as those of the published cut, and its metrics without that cut.
            judged = row.removesuffix(" by a clean cut")
            assert figure.config(row, 0) == figure.config(judged, 0)
            cut = figure.metric(judged, "test/accuracy@5").replace("/published", "")
            assert figure.metric(row, "test/accuracy@5") == cut == "conversion/modes_5"
        shared: dict[str, Config] = {}  # rows with the same overrides, by them
        for label, column in published:
            row = figure.row_of(label, column)
            overrides = " ".join(figure.rows[row].overrides)
            if overrides not in shared:
                shared[overrides] = figure.config(row, 0)
            config = shared[overrides]
            metric, at = figure.metric(label, column), int(column.rpartition("@")[2])
            if metric == "test/accuracy":
                assert at == getattr(config.model, "modes", 0) + getattr(
                    config.model, "kernel_size", 0
                )
            elif metric.startswith("conversion/"):
                evaluator = config.evaluators["conversion"]
                assert isinstance(evaluator, Conversion)
                assert at in evaluator.modes
                assert metric == f"conversion/published/modes_{at}"
                assert evaluator.truncation == [Truncation.exact, Truncation.published]
                assert f"{getattr(config.model, 'kernel_size', 0)}x" in label
            else:
                evaluator = config.evaluators["resolution"]
                assert isinstance(evaluator, Resolution)
                assert at in evaluator.sizes
                data = "bilinear" if "bilinear data" in label else "trigonometric"
                assert metric.rpartition("/")[2] == f"{data}_{at}"
    # Both figures are about the same network.
    trained = load_table("fno_figure3").config("CNN trained@5", 0)
    assert trained == load_table("fno_figure4").config("4a bilinear data: FNO", 0)


@pytest.fixture
def small_archive(tmp_path) -> Path:
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        f"{split}_{kind}": generator.integers(0, high, (count, *shape), dtype=np.uint8)
        for split, count in (("train", 30), ("test", 10))
        for kind, high, shape in (("images", 256, (28, 28)), ("labels", 10, ()))
    }
    np.savez(tmp_path / "small.npz", **arrays)  # pyright: ignore[reportArgumentType]
    return tmp_path / "small.npz"


@pytest.mark.parametrize("label", ["CNN 28x28 converted", "CNN trained@5", "FNO trained@20"])
def test_rows_of_the_fno_figures_train(label, small_archive, local):
    figure = load_table("fno_figure3")
    config = figure.config(
        label,
        0,
        local_place(
            "dataset=arrays",
            f"data.path={small_archive}",
            "data.classes=10",
            "data.validation=6",
            "trainer.max_steps=1",
            "trainer.epochs=1",
            *local,
        ),
    )
    train(config)
    run = run_directory(config)
    names = ["fno_figure3", "fno_figure4"] if label == "CNN trained@5" else ["fno_figure3"]
    found = {
        figure.metric(row, column): metric_of(
            run, figure.metric(row, column), variant="trained", selection="last"
        )
        for figure in map(load_table, names)
        for row, column in read_published(PUBLISHED / f"{figure.name}.csv")
        if figure.row_of(row, column) == label or row.startswith("4a")
    }
    assert None not in found.values()
    assert len(found) == {"CNN trained@5": 1 + 240, "FNO trained@20": 1}.get(label, 7)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("fno_modes", "Adam@15"),
        ("fno_modes", "LinBreg@0.1"),
        ("fno_striding", "trigonometric strides, bilinear data: naive CNN"),
        ("fno_striding", "ordinary strides, trigonometric data: FNO"),
        ("fno_striding_small", "trigonometric strides, trigonometric data: FNO"),
    ],
)
def test_rows_of_our_own_tables_have_every_column(name, label, small_archive, local):
    table = load_table(name)
    small = ["model.width=2"] if name.startswith("fno_striding") else ["model.channels=[2,2]"]
    config = table.config(
        label,
        0,
        local_place(
            *(
                "dataset=arrays",
                f"data.path={small_archive}",
                "data.classes=10",
                "data.validation=6",
            ),
            *("trainer.max_steps=1", "trainer.epochs=1", *small, *local),
        ),
    )
    train(config)
    run = run_directory(config)
    found = {
        column: metric_of(
            run, table.metric(label, column), variant="trained", selection=table.selection
        )
        for column in table.columns
    }
    assert None not in found.values()
    if label.startswith("LinBreg"):
        assert (found["modes/conv1"], found["modes/conv2"]) == (9, 9)


# --- Figures 1 and 2, which need no run ---------------------------------------------------------


def test_figures_without_runs_are_drawn(tmp_path):
    for name in ("fno_figure1", "fno_figure2"):
        figure = load_table(name)
        assert isinstance(figure, Figure)
        assert fill(figure, {}, tmp_path) == []
        assert all(path.stat().st_size > 5000 for path in figure.draw_files([], {}, tmp_path))


def test_spectral_padding_keeps_the_function_and_spatial_padding_does_not():
    image = trigonometric_resize(torch.randn(1, 1, 15, 15, dtype=torch.float64), 31)
    spatial, spectral = padded_responses(image, derivative_kernel(5), [15, 15, 31])
    assert torch.allclose(spatial[1], spectral[1], atol=1e-12)
    # Corollary 1, from the kernel's resolution on.
    assert torch.allclose(trigonometric_resize(spectral[1], 31), spectral[2], atol=1e-12)
    assert (trigonometric_resize(spatial[1], 31) - spatial[2]).abs().max() > 0.1
    kernel = derivative_kernel(5)
    assert torch.equal(kernel, -kernel.flip(0))
    assert float(kernel.norm()) == pytest.approx(1)


def test_nyquist_coefficients_are_halved_and_quartered():
    image = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    direct = torch.fft.fftshift(torch.fft.fft2(image[0, 0], norm="forward"))
    even = full_spectrum(resize_half_spectrum(image, 4), 4)
    assert torch.allclose(even, direct, atol=1e-12)
    odd = full_spectrum(resize_half_spectrum(image, 5), 5)
    assert torch.allclose(odd[1:4, 1:4], even[1:4, 1:4], atol=1e-12)
    assert torch.allclose(odd[0, 2], even[0, 2] / 2, atol=1e-12)
    for row in (0, 4):
        for column in (0, 4):
            assert torch.allclose(odd[row, column], even[0, 0] / 4, atol=1e-12)


def test_networks_of_strides_have_the_stem_of_the_paper():
    networks = [
        load_table(name).config(row, 0).model
        for name in ("fno_striding", "fno_striding_small")
        for row in load_table(name).rows
    ]
    networks.append(load_table("fno_figure4").config("4b bilinear data: FNO", 0).model)
    for model in networks:
        assert isinstance(model, SpectralResnet18)
        assert (model.stem_kernel, model.stem_stride, model.max_pool) == (7, 2, True)
