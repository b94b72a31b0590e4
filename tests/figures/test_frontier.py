"""The frontier: fronts and comparisons against their definitions, and a picture with thirty methods."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from bregbench.figures.frontier import Frontier
from bregbench.figures.frontier_panels import draw_frontier, floor_of, spread
from bregbench.figures.frontier_points import Point, best_of, compare, front
from bregbench.figures.specs import load_table
from bregbench.foundations.errors import BenchError
from bregbench.reproduce.plan import plan
from bregbench.reproduce.train import run_missing
from bregbench.runs.workplace import Workplace
from bregbench.tables.elements import Column, Part, Row


def point(row, mean, *, density=2.0, seconds=10.0, spread=0.1, seeds=6):
    noise = np.random.default_rng(len(row)).normal(size=seeds)
    noise -= noise.mean()
    return Point(row, {s: mean + spread * float(noise[s]) for s in range(seeds)}, density, seconds)


def test_front_is_what_nothing_beats_at_its_price():
    points = [point("a", 90, density=1), point("b", 92, density=2), point("c", 91, density=2)]
    points += [point("d", 92.5, density=5), point("dense", 92.4, density=100)]
    assert front(points, "density") == {"a", "b", "d"}
    assert best_of(points) == "d"
    assert best_of([point("dense", 92.4, density=100)]) is None


def test_comparisons_are_paired_by_common_seeds():
    reference = Point("r", {s: 90.0 + s for s in range(8)}, 2.0, 1.0)
    above = Point("a", {s: 91.0 + s + 0.01 * (s % 2) for s in range(7)}, 2.0, 1.0)
    near = Point("n", {s: 90.0 + s + 0.1 * (-1) ** s for s in range(8)}, 2.0, 1.0)
    found = compare([reference, above, near], "r", 0.3)
    assert set(found) == {"a", "n"}
    assert (found["a"].seeds, found["a"].difference) == (7, pytest.approx(1 + 0.03 / 7))
    assert found["a"].significant
    assert not found["a"].equivalent
    assert str(found["a"]) == "+1.00*"
    assert not found["n"].significant
    assert found["n"].equivalent
    assert str(found["n"]) == "+0.01 ="
    assert compare([above], "r", 0.3) == {}
    single = compare([point("r", 90, seeds=1), point("aa", 91, seeds=1)], "r", 0.3)
    assert str(single["aa"]) == "+1.00 (n=1)"


def test_names_do_not_overlap_and_stay_in_order():
    heights = [1.0, 1.01, 3.0, 0.99]
    placed = spread(heights, 0.5)
    assert placed == [1.49, 1.99, 3.0, 0.99]
    assert np.diff(sorted(placed)).min() >= 0.5 - 1e-12
    capped = spread([1.0, 1.01, 3.0, 0.99], 0.5, 2.0)
    assert capped == [1.0, 1.5, 2.0, 0.5]


def test_what_has_failed_does_not_set_the_scale():
    means = [98.0, 97.9, 97.5, 97.0, 11.0]
    points = [point(str(k), mean, spread=0) for k, mean in enumerate(means)]
    assert [p.mean >= floor_of(points) for p in points] == [True] * 4 + [False]


def test_thirty_methods_are_drawn(tmp_path):
    parts = {
        f"{density} %": [
            point("LinBreg", 97 + density / 5, density=density),
            *(
                point(f"method {k:02d}", 95 + k / 20, density=density, seconds=5 + k)
                for k in range(29)
            ),
            point("SGD", 98.4, density=100),
            point("failed", 11, density=density),
        ]
        for density in (1, 2, 5)
    }
    for ending in ("png", "pdf"):
        draw_frontier(parts, "LinBreg", tmp_path / f"f.{ending}")
        assert (tmp_path / f"f.{ending}").stat().st_size > 10_000


@pytest.fixture
def figure():
    values = {"2 %": Part(values={"lam": "10"}), "5 %": Part(values={"lam": "1"})}
    return Frontier(
        name="small",
        title="Small",
        ours=True,
        bundle=True,
        seeds=[0, 1],
        common=["dataset=digits", "model=mlp", "model.hidden=[8]", "trainer.epochs=1"],
        parts={part: [] for part in values},
        details=values,
        columns={
            f"{part} {metric}": Column(unit="%")
            for part in values
            for metric in ("test/accuracy", "density/total")
        },
        rows={
            "LinBreg": Row(["method=linbreg", "method.lam=<lam>"]),
            "SGD": Row(["method=sgd"]),
            "Waiting": Row(["method=sgd"], tuning=[["method.lr=0.1"]]),
        },
    )


def test_files_say_what_runs_have_shown_and_what_is_missing(figure, tmp_path):
    place = Workplace(results=tmp_path / "results", device="cpu", runs_dir=str(tmp_path / "runs"))
    rows, paths = figure.render({}, place, folder=tmp_path / "out", verdicts=True)
    assert "nothing is found yet" in figure.findings(rows)
    assert not [path for path in paths if path.suffix == ".png"]
    run_missing(plan(figure, place, rows=[], seeds=[0, 1]), place.records, deadline=None)
    rows, paths = figure.render({}, place, folder=tmp_path / "out", verdicts=True)
    assert {path.name for path in paths} >= {"small.png", "small.csv", "small.comparisons.csv"}
    text = figure.sections(rows)["small_findings"]
    assert text.count("| LinBreg |") == text.count("| SGD |") == 2
    assert "Not run yet: Waiting" in text
    lines = list(csv.DictReader(io.StringIO(figure.to_csv(rows))))
    assert {(line["part"], line["row"], line["against"], line["n"]) for line in lines} == {
        (part, "SGD", "LinBreg", "2") for part in ("2 %", "5 %")
    }


def test_committed_frontiers_name_their_reference():
    for name in ("frontier_mnist", "frontier_fashion", "frontier_lenet5"):
        table = load_table(name)
        assert isinstance(table, Frontier)
        table.reference = "LinBerg"
        with pytest.raises(BenchError, match="did you mean LinBreg"):
            table.check()
