"""The figure of all methods: its points are rows of other tables, from records alone."""

from __future__ import annotations

import csv
import dataclasses

import pytest

from bregbench.figures import all_methods as methods
from bregbench.figures.all_methods import METRICS, Methods, gather, render_methods
from bregbench.figures.specs import load_table
from bregbench.reproduce.plan import plan
from bregbench.reproduce.train import keep_records
from bregbench.runs.train import train
from tests.places import at


@pytest.fixture
def figure() -> Methods:
    return Methods(
        name="small_methods",
        title="Small methods",
        ours=True,
        sources={"small_table1": [], "small_table2": ["Dense"]},
        remarks=["Made up."],
    )


@pytest.fixture
def records(small_table, tmp_path, local, monkeypatch):
    """Dense has all numbers with two seeds, Sparse no bounds, Huge is not run."""
    small_table.rows["Dense"].overrides.append("evaluators=[accuracy,density,lipschitz]")
    twin = dataclasses.replace(small_table, name="small_table2", experiment="small_table1")
    tables = {"small_table1": small_table, "small_table2": twin}
    monkeypatch.setattr(methods, "load_rows", tables.__getitem__)
    jobs = plan(small_table, at(tmp_path / "records", *local), rows=[], seeds=[0, 1])
    for job in jobs:
        if job.row == "Dense" or job.config.seed == 0:
            train(job.config)
    assert keep_records(jobs, tmp_path / "records") == 3
    return tmp_path / "records"


def test_rows_with_all_numbers_are_points_and_others_are_named(figure, records, local, tmp_path):
    gathered = gather(figure, at(records, *local))
    (point,) = gathered.points  # the second table's row is the same run
    assert (point.data, point.table, point.row) == ("digits", "small_table1", "Dense")
    assert point.seeds == (0, 1)
    assert gathered.left_out == {"bounds were not measured": ["small_table1: Sparse"]}
    assert 0 < point.values[2] <= point.values[3]

    first = {p.name: p.read_bytes() for p in render_methods(figure, gathered, tmp_path / "a")}
    again = gather(figure, at(records, *local))
    second = {p.name: p.read_bytes() for p in render_methods(figure, again, tmp_path / "b")}
    assert first == second
    assert set(first) == {f"small_methods.{ending}" for ending in ("csv", "md", "png", "pdf")}
    (line,) = csv.DictReader(first["small_methods.csv"].decode().splitlines())
    found = [float(line[metric]) for metric in METRICS]
    assert found == pytest.approx(point.values, rel=1e-5)
    assert list((records / line["record"]).iterdir())
    text = first["small_methods.md"].decode()
    assert "Left out, bounds were not measured: small_table1: Sparse" in text
    assert "- Made up." in text


def test_without_records_there_is_a_remark_and_no_picture(
    figure, small_table, tmp_path, local, monkeypatch
):
    monkeypatch.setattr(methods, "load_rows", lambda name: small_table)
    paths = render_methods(figure, gather(figure, at(tmp_path / "none", *local)), tmp_path / "out")
    assert [path.suffix for path in paths] == [".csv", ".md"]
    assert "Left out, no record: small_table1: Dense; small_table1: Sparse" in paths[1].read_text()


def test_the_figure_names_rows_that_exist():
    figure = load_table("all_methods")
    assert isinstance(figure, Methods)
    assert len(figure.sources) >= 7
    for source, rows in figure.sources.items():
        assert set(rows) <= set(load_table(source).rows)
