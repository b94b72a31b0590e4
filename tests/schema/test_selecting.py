"""The best epoch as the one that withstood the attack of the CLIP paper best."""

from __future__ import annotations

import pytest
import torch

from bregbench.data import Digits
from bregbench.data.loader import to_unit_interval
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import read_tensors
from bregbench.runs.load import load_run
from bregbench.runs.train import run_directory, train
from bregbench.schema.selecting import ATTACKED, PGD
from bregbench.training.trainer import Training
from clip.attacks import pgd
from tests.places import without_times

ROBUST = ("method=sgd", "trainer.select_on=robustness")


def rows(config) -> list[dict]:
    return without_times(run_directory(config).read_metrics())


def test_logged_share_is_that_of_the_papers_attack_spelled_out(make_config):
    penalty = ("objective=weight_penalty", "objective.mu=0.1")  # else nothing withstands it
    config = make_config(*ROBUST, *penalty, "trainer.batch_size=32", "trainer.epochs=2")
    train(config)
    split = Digits().build(torch.device("cpu")).validation
    assert len(split) < ATTACKED  # all of these few are attacked
    found = pgd(
        load_run(run_directory(config).path),
        to_unit_interval(split.images),
        split.labels,
        radii=[2.0],
        step_rule="sign",
        step_size=0.25,
        steps=100,
        value_range=None,
    )
    share = 1 - float(found.broken[2.0].double().mean())
    assert 0 < share < 1
    assert rows(config)[1][PGD] == pytest.approx(share)


def test_latest_of_the_epochs_that_withstood_most_is_best(make_config, monkeypatch):
    shares = iter([0.0, 0.2, 0.6, 0.6, 0.1])
    monkeypatch.setattr("bregbench.training.measuring.withstood", lambda *_: {PGD: next(shares)})
    config = make_config(*ROBUST, "trainer.epochs=4")
    summary = train(config)
    assert summary["best"] == {"epoch": 3, "value": 0.6}
    assert [row[PGD] for row in rows(config)] == [0.2, 0.6, 0.6, 0.1]
    assert summary["final"]["trained"]["best"]["l1_norm"] == pytest.approx(
        rows(config)[2]["l1_norm"]
    )
    assert summary["notes"] == []


def test_attack_changes_nothing_but_the_choice(make_config):
    plain, robust = make_config("method=sgd"), make_config(*ROBUST)
    for config in (plain, robust):
        train(config)
    assert plain.hashed_name != robust.hashed_name
    assert [{k: v for k, v in row.items() if k != PGD} for row in rows(robust)] == rows(plain)
    ours, theirs = (read_tensors(run_directory(c).weights) for c in (plain, robust))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_resume_is_exact(make_config, train_killed):
    whole, broken = (make_config(*ROBUST, f"experiment_name={name}") for name in "ab")
    train(whole)
    train_killed(broken, saves=2)
    assert rows(broken) == rows(whole)
    assert (
        run_directory(broken).read_summary()["best"] == run_directory(whole).read_summary()["best"]
    )


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["task=denoise", "model=mlp_autoencoder"], "task=denoise has none"),
        (["data.validation=0"], r"data\.validation="),
    ],
)
def test_selection_without_anything_to_attack_is_refused(make_config, overrides, says):
    with pytest.raises(BenchError, match=rf"trainer\.select_on=robustness.*{says}"):
        train(make_config(*ROBUST, *overrides))


def test_diverged_run_names_the_loss_and_not_the_attack(make_config):
    config = make_config(*ROBUST)
    training = Training(config, run_directory(config)).begin()
    with torch.no_grad():
        next(iter(training.network.parameters())).fill_(float("nan"))
    assert PGD not in training._measure()
