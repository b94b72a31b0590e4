"""Schedules give the factors that their formulas say, and continue exactly."""

from __future__ import annotations

import math

import pytest

from bregbench.foundations.errors import BenchError
from bregbench.methods.schedules import (
    Constant,
    Cosine,
    Plateau,
    ScheduleConfig,
    Step,
    Triangular,
)
from bregbench.runs.train import run_directory, train
from bregbench.schema.groups import GROUPS
from bregbench.tasks.base import LARGER_IS_BETTER


def factors(config: ScheduleConfig, epochs: int, losses: list[float] | None = None) -> list[float]:
    schedule = config.build(epochs)
    found = []
    for epoch in range(epochs):
        found.append(schedule.factor)
        schedule.end_epoch({"train/loss": losses[epoch] if losses else 1.0})
    return found


def test_constant():
    assert factors(Constant(), 4) == [1, 1, 1, 1]


def test_step():
    assert factors(Step(milestones=[2, 3], factor=0.5), 5) == [1, 1, 0.5, 0.25, 0.25]


def test_cosine():
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)]
    assert factors(Cosine(final=0.1), 8) == pytest.approx(expected)


def test_triangular_has_the_factor_of_the_middle_of_an_epoch():
    config = Triangular(peak=0.25, start=0.2, final=0.1)
    expected = [0.2 + 0.8 / 2, *(1 - 0.9 * (k + 0.5) / 3 for k in range(3))]
    assert factors(config, 4) == pytest.approx(expected)
    assert factors(Triangular(peak=0), 2) == pytest.approx([0.75, 0.25])
    assert factors(Triangular(peak=1, start=0), 2) == pytest.approx([0.25, 0.75])


def test_plateau_halves_after_the_patience():
    losses = [1.0, 0.5, 0.499, 0.498, 0.497, 0.496]  # less than 1 % better than 0.5 from epoch 3 on
    assert factors(Plateau(patience=2), 6, losses) == [1, 1, 1, 1, 1, 0.5]


@pytest.mark.parametrize("score", ["accuracy", "accuracy_top5", "fit", "psnr"])
def test_plateau_on_a_score_looks_for_larger_values(score):
    metric = f"validation/{score}"
    schedule = Plateau(metric=metric, patience=0).build(3)
    schedule.end_epoch({metric: 0.5})
    schedule.end_epoch({metric: 0.9})
    assert schedule.factor == 1
    schedule.end_epoch({metric: 0.8})
    assert schedule.factor == 0.5


@pytest.mark.parametrize("metric", ["validation/loss", "lifted/validation_loss", "density/total"])
def test_plateau_on_anything_else_looks_for_smaller_values(metric):
    schedule = Plateau(metric=metric, patience=0).build(3)
    schedule.end_epoch({metric: 0.5})
    schedule.end_epoch({metric: 0.3})
    assert schedule.factor == 1
    schedule.end_epoch({metric: 0.4})
    assert schedule.factor == 0.5


def test_what_selects_the_best_epoch_is_better_when_larger():
    assert {task.selection for task in GROUPS["task"]} <= set(LARGER_IS_BETTER)


@pytest.mark.parametrize("metric", ["validation/psnr", "test/accuracy"])
def test_plateau_on_what_no_epoch_measures_is_refused_before_the_first(make_config, metric):
    config = make_config("trainer/schedule=plateau", f"trainer.schedule.metric={metric}")
    says = f"metric={metric} is not measured: choose one of .*train/loss, .*validation/accuracy"
    with pytest.raises(BenchError, match=says):
        train(config)
    assert not run_directory(config).read_metrics()


def test_plateau_on_an_unknown_metric_says_so():
    with pytest.raises(BenchError, match="metric=nonsense is not measured: choose one of a, b"):
        Plateau(metric="nonsense").build(3).end_epoch({"a": 1.0, "b": 2.0})


@pytest.mark.parametrize(
    "config", [Step(milestones=[2, 4]), Cosine(), Triangular(), Plateau(patience=1)]
)
def test_restored_schedule_continues(config):
    whole = factors(config, 8)
    first = config.build(8)
    for _ in range(3):
        first.end_epoch({"train/loss": 1.0})
    second = config.build(8)
    second.load_state_dict(first.state_dict())
    found = []
    for _ in range(5):
        found.append(second.factor)
        second.end_epoch({"train/loss": 1.0})
    assert found == whole[3:]


@pytest.mark.parametrize(
    "config",
    [Step(factor=0), Step(milestones=[3, 2]), Cosine(final=2), Plateau(factor=1.5)],
)
def test_values_out_of_range_are_refused(config):
    with pytest.raises(BenchError, match=r"^phases\.a\.schedule\.\w+=.* is out of range"):
        config.check("phases.a.schedule")


def test_run_follows_its_schedule(make_config):
    config = make_config(
        "trainer/schedule=step", "trainer.schedule.milestones=[1,2]", "trainer.schedule.factor=0.5"
    )
    train(config)
    lrs = [row["lr"] for row in run_directory(config).read_metrics()]
    assert lrs == pytest.approx([0.1, 0.05, 0.025])
