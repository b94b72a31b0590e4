"""CLIP and its comparisons as objectives of the bench."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

import clip
from bregbench import load_run
from bregbench.data import Digits
from bregbench.data.loader import to_unit_interval
from bregbench.foundations.errors import BenchError
from bregbench.papers.clip import PaperRobustness, Robustness, StrongRobustness
from bregbench.runs.evaluate import evaluate
from bregbench.runs.train import run_directory, train
from clip.choices import Norm
from tests.places import without_times

SMALL_CLIP = ("objective=clip", "objective.pairs.count=40")
OBJECTIVES = {
    "clip": (*SMALL_CLIP, "objective.rule.target=0.5"),
    "clip-mean-per-step": (
        *SMALL_CLIP,
        "objective.reduction=mean",
        "objective.pairs.per_step=10",
        "objective.pairs.refresh=7",
        "objective.rule.target=0.5",
        "objective.rule.every=step",
        "objective.rule.step=0.001",
    ),
    "weight": ("objective=weight_penalty", "objective.rule.target=0.5"),
    "product": ("objective=product_norm",),
    "adversarial": ("objective=adversarial", "objective.radius=0.3", "objective.steps=2"),
}


def rows(config) -> list[dict]:
    return without_times(run_directory(config).read_metrics())


@pytest.mark.parametrize("method", ["sgd", "linbreg"])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_every_objective_trains_with_dense_and_sparse_methods(make_config, method, objective):
    config = make_config(f"method={method}", *objective, "trainer.batch_size=16")
    summary = train(config)
    losses = [row["train/loss"] for row in rows(config)]
    assert losses[-1] < losses[0]
    assert (summary["final"]["trained"]["last"]["density/total"] < 0.5) == (method == "linbreg")


def test_clip_with_weight_zero_is_plain_training(make_config):
    plain = make_config("method=sgd")
    robust = make_config("method=sgd", *SMALL_CLIP, "objective.lam=0")
    for config in (plain, robust):
        train(config)
    robust_rows = [
        {key: value for key, value in row.items() if not key.startswith("objective/")}
        for row in rows(robust)
    ]
    assert robust_rows == rows(plain)


def test_clip_trains_smaller_lipschitz_constants(make_config):
    images = to_unit_interval(Digits().build(torch.device("cpu")).test.images)
    bounds = []
    for overrides in ((), (*SMALL_CLIP, "objective.lam=1")):
        config = make_config("method=sgd", "trainer.epochs=10", *overrides)
        train(config)
        network = load_run(run_directory(config).path)
        bounds.append(clip.lower_bound(network, images[:100], iterations=None))
    assert bounds[1] < 0.7 * bounds[0]


@pytest.mark.parametrize(
    ("target", "lams"),
    [("0", [0.0, 0.5, 1.5, 2.0]), ("1", [0.0, 0.5, 0.0, 0.0])],
)
def test_weight_follows_the_accuracy_after_its_warm_up(make_config, target, lams):
    config = make_config(
        "method=sgd",
        *SMALL_CLIP,
        "objective.lam=0.5",
        f"objective.rule.target={target}",
        "objective.rule.step=1",
        "objective.rule.maximum=2",
        "objective.rule.warmup=1",
        "trainer.epochs=4",
    )
    train(config)
    assert [row["objective/lam"] for row in rows(config)] == lams


def test_weight_follows_validation_accuracy_where_asked(make_config):
    config = make_config(
        "method=sgd",
        *SMALL_CLIP,
        "objective.rule.accuracy=validation",
        "objective.rule.target=0.7",
        "trainer.epochs=6",
    )
    train(config)
    found = rows(config)
    for row, following in pairwise(found):
        raised = row["validation/accuracy"] > 0.7
        assert (following["objective/lam"] > row["objective/lam"]) == raised


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_resume_is_exact(make_config, train_killed, objective):
    settings = (
        "method=sgd",
        *objective,
        "trainer.batch_size=16",
        "trainer.checkpoint_minutes=1e-9",
    )
    whole, broken = (make_config(*settings, f"experiment_name={name}") for name in "ab")
    train(whole)
    train_killed(broken, saves=100)  # 79 steps an epoch: in the middle of the second
    assert rows(broken) == rows(whole)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["objective.pairs.count=100000"], r"objective\.pairs\.count=100000.*validation images"),
        (["objective.pairs.refresh=sometimes"], r"objective\.pairs\.refresh=sometimes"),
        (["objective.rule.target=2"], r"objective\.rule\.target=2"),
        (["objective.power=3"], r"objective\.power=3"),
        (["objective.ascent.growth=0.5"], r"objective\.ascent\.growth=0\.5"),
        (
            ["objective.rule.every=step", "objective.rule.accuracy=validation"],
            "objective.rule.accuracy=validation",
        ),
    ],
)
def test_values_out_of_range_are_refused(make_config, overrides, says):
    with pytest.raises(BenchError, match=says) as error:
        train(make_config("method=sgd", "objective=clip", *overrides))
    assert "\n" not in str(error.value)


DENOISE = ("task=denoise", "model=mlp_autoencoder", "model.hidden=[16]", "method=sgd")


@pytest.mark.parametrize("every", ["epoch", "step"])
def test_rule_needs_an_accuracy(make_config, every):
    rule = ("objective.rule.target=0.5", f"objective.rule.every={every}")
    with pytest.raises(BenchError, match="task=classification"):
        train(make_config(*DENOISE, *SMALL_CLIP, *rule))


def test_rule_that_moves_nothing_needs_no_accuracy(make_config):
    config = make_config(*DENOISE, *SMALL_CLIP, "objective.rule.every=step", "trainer.epochs=1")
    train(config)
    assert rows(config)[0]["objective/lam"] == config.objective.lam


def test_robustness_as_the_paper_measures_it(make_config):
    config = make_config(
        "method=sgd",
        "trainer.epochs=10",
        "evaluators=[accuracy,paper_robustness]",
        "evaluators.paper_robustness.images=100",
        "evaluators.paper_robustness.radius=0.5",
        "evaluators.paper_robustness.steps=10",
        "evaluators.paper_robustness.noise=0.2",
    )
    final = train(config)["final"]["trained"]["last"]
    clean, noise, weak, strong = (
        final[name]
        for name in ("test/accuracy", "robustness/noise", "robustness/pgd", "robustness/pgd_strong")
    )
    assert strong <= weak < clean
    assert weak < noise <= clean + 0.05
    network = load_run(run_directory(config).path)
    sample = PaperRobustness(images=100, radius=1e-6, steps=2, noise=1e-9)
    data = Digits().build(torch.device("cpu"))
    found = evaluate(network, data, [sample])
    assert len(set(found.values())) == 1  # nothing is disturbed, and all look at the same images
    with pytest.raises(BenchError, match=r"paper_robustness\.radius=0"):
        evaluate(network, data, [PaperRobustness(radius=0.0)])


def test_union_of_attacks_is_never_above_the_attacks_of_the_table(make_config):
    settings = [
        f"evaluators.{name}.{setting}"
        for name in ("paper_robustness", "strong_robustness")
        for setting in ("images=100", "radius=0.7", "steps=10")
    ]
    for more in (["trainer.epochs=10"], ["trainer.epochs=4", "model.activate_output=true"]):
        evaluators = "evaluators=[accuracy,paper_robustness,strong_robustness]"
        config = make_config("method=sgd", "method.lr=0.5", *more, evaluators, *settings)
        final = train(config)["final"]["trained"]["last"]
        weak, gradient, strong = (
            final[f"robustness/{name}"] for name in ("pgd", "pgd_strong", "strong")
        )
        assert strong <= min(weak, gradient) < final["test/accuracy"]
        assert 0 <= final["robustness/masked"] <= 1
    network = load_run(run_directory(config).path)
    data = Digits().build(torch.device("cpu"))
    maximum = StrongRobustness(images=20, radius=0.02, norm=Norm.linf, steps=5, restarts=1)
    assert 0 < evaluate(network, data, [maximum])["robustness/strong"] <= 1
    with pytest.raises(BenchError, match=r"strong_robustness\.radius=0"):
        evaluate(network, data, [StrongRobustness(radius=0.0)])


@pytest.mark.parametrize("evaluator", [Robustness, PaperRobustness, StrongRobustness])
def test_outputs_that_are_no_numbers_have_no_robust_accuracy(make_config, evaluator):
    train(make_config("method=sgd", "trainer.epochs=0"))
    network = load_run(run_directory(make_config("method=sgd", "trainer.epochs=0")).path)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(BenchError, match=r"accuracy under attack: .*outputs are not finite"):
        evaluate(network, Digits().build(torch.device("cpu")), [evaluator(images=20, steps=2)])


def test_pairs_climb_to_the_steepest_place(make_config):
    config = make_config(
        "method=sgd",
        "evaluators=[accuracy,lipschitz,worst_pairs]",
        "evaluators.worst_pairs.pairs=20",
        "evaluators.worst_pairs.steps=20",
    )
    final = train(config)["final"]["trained"]["last"]
    assert final["lipschitz/pairs_start"] < final["lipschitz/pairs"] <= final["lipschitz/upper"]
    traces = load_file(run_directory(config).traces)
    images, outputs = traces["worst_pairs/images"], traces["worst_pairs/outputs"]
    assert images.shape == (2, 2, 1, 8, 8)
    ends = images[1].float() / 255
    change, distance = (x[0].sub(x[1]).norm() for x in (outputs[1], ends))
    # Up to rounding to bytes this is the pair whose quotient was reported.
    assert float(change / distance) == pytest.approx(final["lipschitz/pairs"], rel=0.05)
    with pytest.raises(BenchError, match=r"data\.validation=0"):
        train(make_config("method=sgd", "data.validation=0", "evaluators=[worst_pairs]"))
