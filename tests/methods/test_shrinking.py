"""Shrunk training as an option of LinBreg and AdaBreg: schedule, decision, exact resume, composition."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import read_tensors
from bregbench.methods.shrinking import ShrinkConfig, Shrinking
from bregbench.methods.trials import Trial
from bregbench.runs.train import run_directory, train
from tests.places import without_times

SMALL = ("model.hidden=[24,16]", "trainer.batch_size=64", "trainer.epochs=4", "data.limit=600")
ALWAYS = "method.shrink.mode=always"


@pytest.fixture
def shrunk_config(make_config):
    def make(*overrides: str):
        model = () if any(o.startswith("model=") for o in overrides) else ("model=mlp", SMALL[0])
        return make_config(*model, *SMALL[1:], *overrides)

    return make


def weights(config) -> dict[str, Any]:
    return read_tensors(run_directory(config).weights)


def rows(config) -> list[dict]:
    return without_times(run_directory(config).read_metrics())


def at_work(config) -> list[float | None]:
    return [row.get("units_at_work/linear1") for row in rows(config)]


def same_weights(one, other) -> bool:
    mine, theirs = weights(one), weights(other)
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("method", ["linbreg", "linbreg_momentum", "adabreg"])
def test_a_run_without_coarse_steps_is_the_ordinary_one_bit_by_bit(shrunk_config, method):
    ordinary = shrunk_config(f"method={method}")
    shrunk = shrunk_config(f"method={method}", ALWAYS, "method.shrink.coarse_steps=0")
    train(ordinary)
    train(shrunk)
    assert rows(ordinary) == rows(shrunk)
    assert same_weights(ordinary, shrunk)


def test_the_option_changes_no_hash_at_its_default(shrunk_config):
    plain, named, other = (
        shrunk_config("method=linbreg", *more).run_name.hash
        for more in ((), ("method.shrink.mode=never",), (ALWAYS,))
    )
    assert plain == named != other


def test_coarse_steps_follow_their_schedule():
    config = ShrinkConfig(coarse_steps=4, begin=2, last=1)
    assert [config.steps_at(epoch, 8, 1) for epoch in range(8)] == [0, 0, 1, 3, 4, 4, 4, 0]
    assert [config.steps_at(epoch, 8, 3) for epoch in range(8)] == [0, 0, 1, 3, 4, 0, 0, 0]
    config.growing = False
    assert [config.steps_at(epoch, 5, 0) for epoch in range(5)] == [0, 0, 4, 4, 4]


def test_the_first_and_the_last_epoch_train_the_whole_network(shrunk_config, capsys, monkeypatch):
    monkeypatch.setattr("bregbench.foundations.console._SECONDS_BETWEEN_LINES", 0.0)
    config = shrunk_config("method=linbreg", ALWAYS)
    train(config)
    widths = [f"{rows(config)[1][f'units_at_work/linear{n}']:.0f}" for n in (1, 2, 3)]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert [f"at work {'-'.join(widths)}" in line for line in lines][:2] == [False, True]
    found = at_work(config)
    assert found[0] is None
    assert found[3] is None
    assert all(0 < width < 24 for width in found[1:3])  # type: ignore[operator]


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=linbreg_momentum", "method.shrink.sparse=0.5"),
        ("method=adabreg", "method.target_density=0.2"),
        ("method=linbreg", "method.target_density=0.1", "method.density.rule=quantile"),
        ("method=linbreg", "method.healing.epochs=1", "trainer.precision=bf16"),
        (
            "method=linbreg",
            "model=cnn",
            "model.channels=[8]",
            "model.kernel_size=3",
            "method/penalty=filters",
        ),
    ],
)
def test_a_killed_run_goes_on_bit_by_bit(shrunk_config, train_killed, tmp_path, overrides):
    often = (
        "trainer.checkpoint_minutes=1e-9",
        "method.shrink.coarse_steps=3",
        "method.shrink.growing=false",
        "trainer.epochs=3",
    )
    whole, killed = (
        shrunk_config(*overrides, ALWAYS, *often, f"runs_dir={tmp_path / name}") for name in "ab"
    )
    train(whole)
    train_killed(killed, saves=13)
    assert rows(whole) == rows(killed)
    assert same_weights(whole, killed)
    assert any("units_at_work" in key for row in rows(whole) for key in row)


def test_the_phase_without_masks_shrinks_and_those_with_masks_say_why_not(shrunk_config):
    epochs = {"dense": 3, **{f"prune{n}": 1 for n in range(1, 5)}}
    config = make_phases(shrunk_config, epochs)
    summary = train(config)
    assert [width is None for width in at_work(config)] == [True, False, *[True] * 5]
    assert any("masks hold weights at zero" in note for note in summary["notes"])


def make_phases(shrunk_config, epochs: dict[str, int]):
    given = [f"phases.{name}.epochs={count}" for name, count in epochs.items()]
    return shrunk_config(
        "method=linbreg", "phases=iterative_pruning", "trainer.epochs=100", *given, ALWAYS
    )


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("objective=lasso",), "objective=lasso looks at the whole network"),
        (("model.hidden=[]",), "no unit can be left out (an output of the network)"),
        (("method/penalty=nuclear",), "no unit can be left out"),
    ],
)
def test_what_cannot_be_shrunk_is_trained_in_full_and_says_so_once(
    shrunk_config, capsys, overrides, why
):
    ordinary, shrunk = (
        shrunk_config("method=linbreg", *overrides),
        shrunk_config("method=linbreg", *overrides, ALWAYS),
    )
    train(ordinary)
    summary = train(shrunk)
    assert same_weights(ordinary, shrunk)
    (note,) = summary["notes"]
    assert why in note
    assert capsys.readouterr().err.count(f"note: {note}") == 2  # when it is found, and at the end


def test_bad_values_name_the_key(shrunk_config):
    with pytest.raises(BenchError, match=r"method\.shrink\.coarse_steps=-1 .* at least 0"):
        train(shrunk_config("method=linbreg", "method.shrink.coarse_steps=-1"))


@pytest.mark.parametrize(("costs", "taken"), [((1.0, 0.2), True), ((1.0, 1.5), False)])
def test_auto_follows_the_times_of_its_own_steps(shrunk_config, monkeypatch, costs, taken):
    """A clock that runs as fast as the network at work wants."""
    begin = Shrinking.network.fget
    now = [0.0]

    def network(self: Shrinking):
        found = begin(self)  # type: ignore[misc]
        now[0] += costs[self.coarse]
        return found

    monkeypatch.setattr(Shrinking, "network", property(network))
    monkeypatch.setattr("bregbench.methods.shrinking.process_time", lambda: now[0])
    shorter = ("trainer.epochs=6", "trainer.batch_size=32", "method.shrink.coarse_steps=1")
    config = shrunk_config("method=linbreg", "method.shrink.mode=auto", *shorter)
    summary = train(config)
    (note,) = summary["notes"]
    assert ("taken up in 4 epochs (2 to 5)" in note) == taken
    ratios = [row.get("cost/cycle_time") for row in run_directory(config).read_metrics()]
    assert ratios[0] is None
    m = 1
    assert ratios[1] == pytest.approx((costs[0] + m * costs[1]) / (m + 1))


def test_auto_tries_again_after_longer_and_longer_pauses():
    trial = Trial()
    tried = []
    for epoch in range(12):
        if trial.due():
            tried.append(epoch)
            trial.ratios = [1.2]
            assert not trial.decide()
    assert tried == [0, 2, 5, 10]
    trial.wait = 0
    assert trial.due()
    trial.ratios = [0.5]
    assert trial.decide()
    assert trial.due()
