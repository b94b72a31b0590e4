"""Regression on points of a line, and phases with objectives of their own."""

from __future__ import annotations

import pytest
import torch

from bregbench.foundations.errors import BenchError
from bregbench.papers.clip import GapFunction
from bregbench.papers.clip.gap_function import truth
from bregbench.runs.train import run_directory, train

CPU = torch.device("cpu")
LINE = ("dataset=gap_function", "task=regression", "method=adam", "method.lr=0.01")
SMALL = (*LINE, "data.repeats=5", "trainer.batch_size=50")


def test_points_lie_on_three_intervals_and_tests_in_the_gaps_too():
    data = GapFunction(points=100, noise=0.0, repeats=3).build(CPU)
    x, y = data.train.images.flatten(), data.train.labels
    assert len(x) == 300
    assert len(x.unique()) == 100
    assert torch.equal(y, truth(x))
    inside = ((x.abs() >= 3) & (x.abs() <= 4)) | (x.abs() <= 0.3)
    assert inside.all()
    counts = [
        int(((x >= low) & (x <= high)).sum()) for low, high in ((-4, -3), (-0.3, 0.3), (3, 4))
    ]
    assert counts == [102, 99, 99]
    grid = data.test.images.flatten()
    assert (grid.min(), grid.max(), len(grid)) == (-4, 4, 801)
    assert not torch.equal(data.validation.images, data.train.images[:100])
    noisy = GapFunction(points=3000, noise=0.1, repeats=1).build(CPU)
    errors = noisy.train.labels - truth(noisy.train.images.flatten())
    assert errors.std().item() == pytest.approx(0.1, rel=0.05)
    assert truth(torch.tensor([-4.0, 0.0, 3.0, 4.0])).tolist() == [0.5, 0.0, 0.0, 0.5]


def test_regression_finds_the_function(make_config):
    config = make_config(
        *SMALL, "data.noise=0", "evaluators=[accuracy,curve]", "trainer.epochs=150"
    )
    final = train(config)["final"]["trained"]["last"]
    assert final["validation/loss"] == pytest.approx(-final["validation/fit"], rel=1e-4)
    assert final["validation/loss"] < 0.01
    assert final["curve/4"] == pytest.approx(0.5, abs=0.1)
    assert 0.2 < final["curve/slope"] < 5


def test_every_phase_may_have_an_objective(make_config):
    config = make_config(
        *LINE,
        "phases=lipschitz_chain",
        "trainer.epochs=100",
        "evaluators=[accuracy,curve]",
        "data.repeats=20",
        "phases.plain.epochs=20",
        "phases.lam10.epochs=5",
        "phases.lam10.objective.lam=10",
        "phases.lam1.epochs=0",
        "phases.lam0.epochs=0",
    )
    assert config.name == "gap_function-mlp-adam-clip"
    summary = train(config)
    rows = run_directory(config).read_metrics()
    assert [row.get("objective/lam") for row in rows] == [None] * 20 + [10.0] * 5
    # So much weight on the Lipschitz constant flattens what was fitted before.
    final = summary["final"]["trained"]["last"]
    assert final["curve/slope"] < 0.45
    assert rows[-1]["train/loss"] > rows[19]["train/loss"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.points=2"], "data.points=2"),
        (["data.noise=-1"], "data.noise=-1"),
        (["data.limit=5"], "data.limit=5"),
    ],
)
def test_values_that_do_not_fit_are_refused(make_config, overrides, says):
    with pytest.raises(BenchError, match=says):
        train(make_config(*SMALL, *overrides))


def test_regression_needs_one_output(make_config):
    with pytest.raises(BenchError, match=r"needs outputs of shape \(1,\)"):
        train(make_config("task=regression"))


def test_graph_needs_one_input(make_config):
    with pytest.raises(BenchError, match="needs inputs of one number"):
        train(make_config("evaluators=[curve]"))
