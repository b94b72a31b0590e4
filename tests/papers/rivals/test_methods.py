"""Rivals on the bench: they train, resume exactly, measure what they should and refuse nonsense."""

from __future__ import annotations

import pytest
import torch

from bregbench.evaluators import Accuracy, Density
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import read_tensors
from bregbench.runs.evaluate import evaluate_run
from bregbench.runs.train import run_directory, train
from bregbench.schema.groups import GROUPS
from tests.places import final_without_times, without_times

KINDS = [m.kind for m in GROUPS["method"] if m.__module__.startswith("bregbench.papers.rivals")]
#: changes that make something happen within a few steps
LIVELY = {
    "rda": ["method.lam=0.005"],
    "pat": ["method.lam=3", "method.lr=0.01"],
    "grda": ["method.lam=0.05"],
    "rmda": ["trainer/schedule=step", "trainer.schedule.milestones=[1,2]", "method.lam=0.05"],
    "ramda": ["trainer/schedule=step", "trainer.schedule.milestones=[2]", "method.lam=0.02"],
    "xrda": ["method.lam=1e-4"],
    "str": ["method.logit=-4", "method.weight_decay=0.02"],
    "spred": ["method.weight_decay=0.02"],
}
MASKED = ["method.interval=4", "method.density=0.2"]


def overrides(kind: str) -> list[str]:
    return [
        *(f"method={kind}", "data.limit=160", "trainer.batch_size=16", "evaluators=[density]"),
        *LIVELY.get(kind, MASKED),
    ]


def weights(config) -> dict[str, torch.Tensor]:
    return read_tensors(run_directory(config).weights)


def rows(config) -> list[dict]:
    return without_times(run_directory(config).read_metrics())


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_ends_like_one_that_was_left_alone(kind, make_config, train_killed):
    options = overrides(kind)
    whole = make_config(*options, "experiment_name=whole")
    summary = train(whole)
    killed = make_config(*options, "trainer.checkpoint_minutes=1e-9")
    train_killed(killed, saves=15)  # 10 steps an epoch: in the middle of the second
    assert rows(killed) == rows(whole)
    ours, theirs = weights(killed), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    again = train(make_config(*options))
    assert final_without_times(again) == final_without_times(summary)
    assert rows(whole)[-1]["train/loss"] < rows(whole)[0]["train/loss"]


@pytest.mark.parametrize("kind", ["static_random", "set", "rigl", "snip", "gmp", "granet"])
def test_masks_have_the_density_that_was_asked_for(kind, make_config):
    config = make_config(*overrides(kind))
    summary = train(config)
    total = 64 * 16 + 16 * 10
    assert rows(config)[-1]["mask_density/total"] == round(0.2 * total) / total
    assert rows(config)[-1]["density/total"] <= rows(config)[-1]["mask_density/total"]
    if kind == "static_random":  # the first masks are those of the starting weights
        assert rows(config)[-1]["density/total"] == rows(config)[-1]["mask_density/total"]
    random = {"static_random": 0.2, "set": 0.2, "rigl": 0.2, "granet": 0.5}
    wanted = round(random.get(kind, 1) * total) / total
    assert summary["initial"]["density/total"] == pytest.approx(wanted)
    assert any("masks: on 1184 of 1184 weights of 2 of 2 layers" in n for n in summary["notes"])


def test_stem_and_head_can_stay_out(make_config):
    config = make_config(
        *overrides("rigl"), "model.hidden=[16,16]", "method.stem=false", "method.head=false"
    )
    notes = train(config)["notes"]
    assert any("on 256 of 1440 weights of 1 of 3 layers (stem out, head out)" in n for n in notes)
    found = weights(config)
    dense = [name for name in found if name.endswith("weight") and bool(found[name].all())]
    assert len(dense) == 2
    assert rows(config)[-1]["mask_density/total"] == pytest.approx(0.2, abs=0.005)
    assert "dense" in run_directory(config).penalties.read_text()


def test_updates_happen(make_config):
    """SET and RigL begin with the masks of static_random and end with others."""
    found = {}
    for kind in ("static_random", "set", "rigl"):
        config = make_config(*overrides(kind))
        train(config)
        found[kind] = {n: w != 0 for n, w in weights(config).items() if n.endswith("weight")}
    for kind in ("set", "rigl"):
        assert any(not torch.equal(found[kind][n], found["static_random"][n]) for n in found[kind])


@pytest.mark.parametrize("kind", ["rmda", "ramda"])
def test_proximal_points_hold_the_zeros_and_milestones_restart(kind, make_config):
    config = make_config(*overrides(kind), "trainer.schedule.milestones=[2]", "method.growth=1")
    summary = train(config)
    last = rows(config)[-1]
    assert last["proximal_density/total"] < 0.9 < last["density/total"]
    proximal = summary["final"]["proximal"]["last"]["density/total"]
    assert proximal == last["proximal_density/total"]
    grown = make_config(*overrides(kind), "trainer.schedule.milestones=[2]", "method.growth=100")
    train(grown)
    assert rows(grown)[-1]["density/total"] < 0.9  # c is 1 now, and the iterate its proximal point


def test_spred_is_judged_after_its_cut(make_config):
    summary = train(make_config(*overrides("spred"), "method.ratio=0.5"))
    trained, cut = (summary["final"][name]["last"]["density/total"] for name in ("trained", "cut"))
    assert trained == 1.0
    assert cut < 0.9


def test_str_says_that_nothing_happened(make_config):
    notes = train(make_config(*overrides("str"), "method.logit=-3200"))["notes"]
    assert any("2 of 2 thresholds are still 0" in note for note in notes)


def test_healing_freezes_the_density_that_was_wanted(make_config):
    # Ten steps an epoch: the rule is due at the very step after which the support is frozen.
    options = ["method=adabreg", "method.density.rule=quantile", "method.density.interval=5"]
    options += [
        "method.target_density=0.1",
        "method.healing.epochs=1",
        "method.healing.debias=true",
    ]
    config = make_config(*options, "method.lr=0.05", "data.limit=160", "trainer.batch_size=16")
    train(config)
    frozen, last = (row["density/total"] for row in rows(config)[1:])
    assert frozen == last == pytest.approx(0.1, abs=1 / 1184)


@pytest.mark.parametrize(
    "options",
    [
        ["method=linbreg", "method.density.rule=quantile", "method.lr=0.05"],
        ["method=adabreg", "method.density.rule=quantile", "method.density.ramp=cubic"],
        ["method=linbreg", "method.density.rule=gap", "method.density.interval=3"],
        ["method=linbreg", "method.density.ramp=cubic", "method.density.until=0.3"],
        ["method=rda", "method.density.rule=quantile", "method.density.ramp=cubic"],
        ["method=linbreg_momentum", "method.healing.epochs=2", "method.healing.debias=true"],
        ["method=adabreg", "method.birth_lr=0.1", "method.dual_leak=1", "method.lam=0.02"],
    ],
    ids=" ".join,
)
def test_density_rules_healing_and_births_resume(options, make_config, train_killed):
    options = [*options, "data.limit=160", "trainer.batch_size=16", "evaluators=[density]"]
    if any("density" in option for option in options[:2]):
        options.append("method.target_density=0.1")
    whole = make_config(*options, "experiment_name=whole")
    train(whole)
    killed = make_config(*options, "trainer.checkpoint_minutes=1e-9")
    train_killed(killed, saves=15)
    assert rows(killed) == rows(whole)
    if "rule=quantile" in options[1]:
        total = 1184
        assert rows(whole)[-1]["density/total"] == pytest.approx(0.1, abs=1 / total)
    if "healing" in options[1]:
        densities = [row["density/total"] for row in rows(whole)]
        assert densities[0] == densities[1] == densities[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["method=linbreg", "method.healing.epochs=9"], "healing.epochs=9 .* at most 3"),
        (["method=spred", "method/penalty=rows"], "method.penalty=l12 has no meaning"),
        (["method=rigl", "method.leave=['*']"], "no weight is left to be masked"),
        (
            [
                *("method=prox_sgd", "method.target_density=0.1"),
                "method.density.rule=quantile",
            ],
            "needs duals, and ProxSGD has none",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_the_network_is_refused_in_one_line(options, message, make_config):
    with pytest.raises(BenchError, match=message):
        train(make_config(*options))


def test_norm_layers_are_measured_anew_after_a_cut(make_config):
    """With whole batches of training images the statistics of the cut network are those it sees."""
    from bregbench.training.trainer import Training

    config = make_config(
        *("method=sgd", "model=resnet18", "model.width=4", "data.limit=64", "trainer.epochs=1"),
        *("method.cut.density=0.2", "method.recalibrate=64"),
    )
    training = Training(config, run_directory(config)).begin()
    cut = training.method.variants()["thresholded"]
    first = next(n for n, _ in cut.named_buffers() if n.endswith("running_mean"))
    assert not torch.equal(cut.get_buffer(first), training.network.get_buffer(first))


@pytest.mark.parametrize(
    ("options", "variant"),
    [
        (["method=spred", "method.ratio=0.3"], "cut"),
        (["method=sgd", "method.cut.density=0.2"], "thresholded"),
    ],
)
def test_finished_runs_are_measured_after_their_cut_as_training_measured_them(
    options, variant, make_config
):
    network = ("model=resnet18", "model.width=4", "trainer.batch_size=16", "trainer.epochs=1")
    config = make_config(*options, *network, "data.limit=64", "method.recalibrate=64")
    final = train(config)["final"]
    again = evaluate_run(
        run_directory(config), config, [Accuracy(), Density()], selection="last", variant=variant
    )
    assert again["density/total"] == final[variant]["last"]["density/total"]
    assert again["test/loss"] == pytest.approx(final[variant]["last"]["test/loss"], rel=1e-5)
    assert again["test/loss"] != pytest.approx(final["trained"]["last"]["test/loss"], rel=1e-3)


def test_proximal_points_are_not_in_the_weights(make_config):
    config = make_config(*overrides("rmda"))
    train(config)
    with pytest.raises(BenchError, match="rests on the optimiser's state, which is not kept"):
        evaluate_run(
            run_directory(config), config, [Density()], selection="last", variant="proximal"
        )


def test_weights_can_begin_at_zero(make_config):
    options = ["method=linbreg", "trainer.max_steps=1", "evaluators=[density]", "data.limit=160"]
    summary = train(make_config(*options, "method.start.zero=['*2.weight']"))
    assert summary["initial"]["density/total"] == 10 / 1184  # 1 % of 1,024 weights
    with pytest.raises(BenchError, match=r"method\.start\.zero=x names no parameter: linear1"):
        train(make_config(*options, "method.start.zero=[x]"))


def test_phantom_rows_are_counted(make_config):
    common = ("dataset=phantom_digits", "data.phantoms=30", "evaluators=[phantom_rows,accuracy]")
    found = {}
    for name, options in {
        "dense": ["method=sgd"],
        "sparse": ["method=linbreg", "method.lr=0.05", "method.lam=0.1"],
    }.items():
        summary = train(make_config(*common, *options, "trainer.batch_size=16", "data.limit=160"))
        found[name] = summary["final"]["trained"]["last"]
        assert summary["classes"] == 40
    assert found["dense"]["phantom/alive"] == 30
    assert found["dense"]["phantom/real"] == 10
    assert found["dense"]["phantom/weights"] == 30 * 16
    assert found["sparse"]["phantom/alive"] < 30
