"""Phases: consecutive parts of a run, pruning at their beginning, and judging without small weights."""

from __future__ import annotations

import pytest
import torch

from bregbench.evaluators import Accuracy, Density, Lipschitz
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import read_tensors
from bregbench.methods.thresholds import Cut, Grouping, Scope
from bregbench.phases.magnitude import MagnitudePruning
from bregbench.runs.evaluate import evaluate_run
from bregbench.runs.train import run_directory, train

SHORT = [f"phases.{name}.epochs=2" for name in ("dense", "prune1", "prune2", "prune3", "prune4")]


def test_iterative_pruning_keeps_its_masks(make_config):
    # `trainer.epochs=100` is the default: lengths belong to the phases.
    config = make_config("phases=iterative_pruning", "method=adam", "trainer.epochs=100", *SHORT)
    summary = train(config)
    assert config.name == "digits-mlp-adam-magnitude_pruning"
    rows = run_directory(config).read_metrics()
    assert [row["phase"] for row in rows[::2]] == ["dense", "prune1", "prune2", "prune3", "prune4"]
    densities = [row["density/total"] for row in rows]
    for phase, wanted in enumerate([1.0, 0.5, 0.2, 0.1, 0.05]):
        assert densities[2 * phase] == pytest.approx(wanted, abs=1e-3)
        assert densities[2 * phase + 1] == densities[2 * phase]  # no weight comes back
    # The best network is one of the last phase, not a dense one.
    assert summary["best"]["epoch"] in (9, 10)
    assert summary["final"]["trained"]["best"]["density/total"] == pytest.approx(0.05, abs=1e-3)


@pytest.mark.parametrize(
    ("approach", "densities"),
    [
        ("geometric", [0.1 ** (k / 4) for k in (1, 2, 3, 4)]),
        ("cubic", [0.479688, 0.2125, 0.114063, 0.1]),
    ],
)
def test_repetitions_come_to_their_density_by_and_by(make_config, approach, densities):
    """Han et al.: a share of what is left; Zhu and Gupta, eq. 1, with s_i = 0 and s_f = 0.9."""
    config = make_config(
        "phases=gradual_pruning", "trainer.epochs=100", "phases.prune.repeat=4",
        f"phases.prune.begin.approach={approach}",
        *(f"phases.{name}.epochs=1" for name in ("dense", "prune", "tune")),
    )  # fmt: skip
    train(config)
    found = [row["density/total"] for row in run_directory(config).read_metrics()]
    assert found == pytest.approx([1.0, *densities, 0.1], abs=1e-3)


def test_last_phase_without_epochs_has_no_best_of_its_own(make_config):
    lengths = [*SHORT[:-1], "phases.prune4.epochs=0"]
    config = make_config("phases=iterative_pruning", "method=sgd", "trainer.epochs=100", *lengths)
    final = train(config)["final"]["trained"]
    assert final["best"]["density/total"] == final["last"]["density/total"]
    assert final["last"]["density/total"] == pytest.approx(0.05, abs=1e-3)


@pytest.mark.parametrize("at", [3, 4, 7])
def test_resume_between_and_within_phases_is_exact(make_config, train_killed, at):
    def config(name: str):
        return make_config(
            "phases=iterative_pruning",
            "method=linbreg_momentum",
            "trainer.epochs=100",
            f"experiment_name={name}",
            *SHORT,
        )

    train(config("whole"))

    train_killed(config("killed"), saves=at)
    for key in ("train/loss", "validation/loss", "density/total"):
        whole, killed = (
            [row[key] for row in run_directory(config(name)).read_metrics()]
            for name in ("whole", "killed")
        )
        assert killed == whole
    weights = [read_tensors(run_directory(config(n)).weights) for n in ("whole", "killed")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_length_of_phases_is_their_own(make_config):
    with pytest.raises(BenchError, match=r"trainer\.epochs=3 has no meaning with phases"):
        make_config("phases=iterative_pruning")


def test_order_of_phases_must_be_given(make_config):
    with pytest.raises(
        BenchError, match=r"order of the phases is open: .* give each a different one"
    ):
        make_config("phases=iterative_pruning", "trainer.epochs=100", "phases.prune2.order=0")


def test_thresholded_variant_is_judged_beside_the_trained_one(make_config):
    config = make_config(
        "method=sgd", "method.cut.density=0.3", "method.cut.by=row", "method.cut.scope=layer"
    )
    final = train(config)["final"]
    assert final["trained"]["last"]["density/total"] == pytest.approx(1.0, abs=1e-3)
    assert final["thresholded"]["last"]["density/total"] == pytest.approx(0.3, abs=0.02)
    assert final["thresholded"]["last"]["active_units/linear1"] < 1
    # No epoch saw the cut network, so its training accuracy is measured; the other one's is a curve.
    assert final["thresholded"]["last"]["train/accuracy"] > 0.1
    assert "train/accuracy" not in final["trained"]["last"]
    assert set(train(make_config("method=sgd"))["final"]) == {"trained"}


def test_thresholded_variant_of_a_finished_run_can_be_measured(make_config):
    config = make_config("method=sgd", "method.cut.density=0.1")
    final = train(config)["final"]
    directory = run_directory(config)
    evaluators = [Accuracy(), Density()]
    for variant in ("trained", "thresholded"):
        found = evaluate_run(directory, config, evaluators, selection="last", variant=variant)
        assert found["test/accuracy"] == final[variant]["last"]["test/accuracy"]
        assert found["density/total"] == final[variant]["last"]["density/total"]
    evaluate_run(directory, config, [Lipschitz()], selection="last", variant="thresholded")
    final = directory.read_summary()["final"]
    assert "lipschitz/upper" in final["thresholded"]["last"]
    assert "lipschitz/upper" not in final["trained"]["last"]
    with pytest.raises(BenchError, match="variant=gamma: this run has trained and thresholded"):
        evaluate_run(directory, config, evaluators, selection="last", variant="gamma")


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        (Cut(density=0.25), 2),
        (Cut(threshold=2.5), 6),
        (Cut(threshold=0.0), 8),
        (Cut(density=0.5, by=Grouping.row), 4),
        (Cut(density=0.25, scope=Scope.layer), 2),
    ],
)
def test_cut_keeps_the_largest(cut, kept):
    layer = torch.nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, 4.0], [-5.0, 6.0, 7.0, -8.0]]))
    judged = cut.applied(layer)
    weight = judged.get_parameter("weight")
    assert int(weight.count_nonzero()) == kept
    assert weight[1, 3] == -8
    assert int(layer.weight.count_nonzero()) == 8  # the network itself is untouched


def test_cut_may_keep_another_share_of_linear_layers():
    network = torch.nn.Sequential(torch.nn.Conv2d(4, 5, 3), torch.nn.Linear(10, 10))
    cut = Cut(density=0.5, by=Grouping.kernel, linear_density=0.1)
    masks = cut.masks(network)
    assert int(masks["0.weight"].flatten(2).all(2).sum()) == 10
    assert int(masks["0.weight"].sum()) == 10 * 9
    assert int(masks["1.weight"].sum()) == 10


@pytest.mark.parametrize(
    "overrides",
    [
        ["method.cut.density=2"],
        ["method.cut.linear_density=0.1"],
        ["method.cut.density=0.1", "method.cut.linear_density=-0.1"],
        ["method.cut.density=0.5", "method.cut.threshold=1"],
        ["method.cut.threshold=-1"],
    ],
)
def test_cut_out_of_range_is_refused(make_config, overrides):
    with pytest.raises(BenchError, match=r"method\.cut"):
        train(make_config("method=sgd", *overrides))


def test_pruning_out_of_range_is_refused(make_config):
    with pytest.raises(BenchError, match=r"phases\.prune1\.begin\.density=0"):
        make_config(
            "phases=iterative_pruning", "trainer.epochs=100", "phases.prune1.begin.density=0"
        )
    with pytest.raises(BenchError, match="in \\(0, 1\\]"):
        MagnitudePruning(density=1.5).check("x")
