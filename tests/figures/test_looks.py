"""Colours belong to methods, legends are whole, and a few values do not squeeze a panel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bregbench.figures.all_methods import pareto_front
from bregbench.figures.axes import in_words, label_beside, show_bulk, spread_out, wrapped
from bregbench.figures.curves import draw
from bregbench.figures.labels import distinguish, facets
from bregbench.figures.looks import looks_of
from bregbench.figures.plotting import figure_to
from bregbench.foundations.errors import BenchError
from bregbench.storage.find import SavedRun


def saved(kind: str, *, data: str = "mnist", seed: int = 0, **method: object) -> SavedRun:
    name = f"{data}-{kind}-{method}"
    rows = [{"epoch": e, "validation/accuracy": 0.5 + 0.01 * e} for e in range(1, 6)]
    config = {
        "seed": seed,
        "data": {"kind": data},
        "model": {"kind": "mlp"},
        "method": {"kind": kind, **method},
        "objective": {"kind": "cross_entropy"},
    }
    return SavedRun(Path("runs") / name / f"seed{seed}", config, rows, None)


def test_a_method_has_one_colour_in_every_figure():
    one = looks_of({"a": "linbreg", "b": "sgd"})
    other = looks_of({"x": "adam", "y": "prox_sgd", "z": "linbreg"})
    assert one["a"].color == other["z"].color
    assert len({look.color for look in other.values()}) == 3


def test_variants_of_a_method_differ_in_tint_and_style():
    looks = looks_of({"sgd": "sgd"} | {f"lam {i}": "linbreg" for i in range(4)})
    linbreg = [look for label, look in looks.items() if label != "sgd"]
    assert len({look.color for look in linbreg}) == len({look.style for look in linbreg}) == 4


def test_many_curves_of_one_method_are_all_distinct():
    looks = looks_of(dict.fromkeys(map(str, range(20)), "sgd"))
    assert len({(look.color, look.style) for look in looks.values()}) == 20


def test_fractions_are_shown_in_percent():
    assert in_words("test/accuracy") == ("test accuracy [%]", 100.0)
    assert in_words("density/total") == ("density of the weights [%]", 100.0)
    assert in_words("l1_norm") == ("l1 norm of the weights", 1.0)


@pytest.mark.parametrize("early", [0.1, 0.5])
def test_a_few_low_values_do_not_squeeze_the_others(tmp_path, early):
    heights = np.concatenate([[early], np.linspace(0.97, 0.98, 99)])
    with figure_to(tmp_path / "a.png", width=4, height=3) as figure:
        axes = figure.add_subplot()
        axes.plot(np.arange(100), heights)
        show_bulk(axes)
        low, high = axes.get_ylim()
        assert early < 0.9 < low < 0.97
        assert 0.98 < high < 1
        assert f"down to {early}" in axes.texts[0].get_text()


def test_limits_stay_where_values_are_spread(tmp_path):
    with figure_to(tmp_path / "a.png", width=4, height=3) as figure:
        axes = figure.add_subplot()
        axes.plot(np.arange(100), np.linspace(0, 1, 100))
        before = axes.get_ylim()
        show_bulk(axes)
        assert axes.get_ylim() == before
        assert not axes.texts


def test_the_end_of_a_curve_is_always_shown(tmp_path):
    with figure_to(tmp_path / "a.png", width=4, height=3) as figure:
        axes = figure.add_subplot()
        axes.plot(np.arange(1000), np.linspace(0.97, 0.98, 1000))
        axes.axhline(0.2)
        show_bulk(axes)
        assert axes.get_ylim()[0] < 0.2


def test_labels_are_whole_words_of_what_differs():
    runs = [
        saved("linbreg", lam=0.1, lr=0.1),
        saved("linbreg", lam=0.2, lr=0.1),
        saved("sgd", lr=0.1),
    ]
    assert list(distinguish(runs).values()) == ["LinBreg, lambda 0.1", "LinBreg, lambda 0.2", "SGD"]


def test_panels_by_data_set_do_not_repeat_its_name():
    runs = [saved("sgd"), saved("sgd", data="fashion_mnist")]
    assert list(facets(runs, "dataset")) == ["Fashion-MNIST", "MNIST"]
    assert set(distinguish(runs, apart="dataset").values()) == {"SGD"}
    assert set(distinguish(runs).values()) == {"SGD MNIST", "SGD Fashion-MNIST"}


def test_panels_by_a_number_stand_in_its_order():
    runs = [saved("linbreg", lam=lam) for lam in (10.0, 0.5, 2.0)]
    assert list(facets(runs, "method.lam")) == ["lambda 0.5", "lambda 2", "lambda 10"]


def test_panels_by_an_unknown_key_are_refused():
    with pytest.raises(BenchError, match=r"by=datset is no key .* data\.kind"):
        facets([saved("sgd")], "datset")


def test_a_plot_of_many_mixed_runs_is_drawn(tmp_path):
    runs = [
        saved("linbreg", lam=float(i), data=data) for i in range(12) for data in ("mnist", "digits")
    ]
    draw(runs, x="epoch", ys=["validation/accuracy"], output=tmp_path / "a.png", by="dataset")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_long_labels_are_wrapped_and_never_cut():
    label = " ".join(["word"] * 40)
    lines = wrapped(label).split("\n")
    assert " ".join(lines) == label
    assert max(map(len, lines)) <= 60


def test_names_beside_a_panel_do_not_overlap(tmp_path):
    placed = spread_out([0.1, 0.11, 0.12, 0.99, 1.0], 0.05)
    assert np.diff(placed).min() > 0.05 - 1e-12
    assert placed[-1] <= 1
    with figure_to(tmp_path / "a.png", width=4, height=3) as figure:
        axes = figure.add_subplot()
        axes.plot([1, 2], [1, 2], "o")
        label_beside(axes, [(1, 1, "one"), (2, 2, "two")])
        assert [text.get_text() for text in axes.texts] == ["one", "two"]


def test_the_pareto_front_holds_what_nothing_beats():
    costs, gains = [1, 2, 3, 1, 4], [5, 4, 7, 3, 7]
    assert pareto_front(costs, gains) == [0, 2]
