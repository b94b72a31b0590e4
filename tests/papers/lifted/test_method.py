"""Lifted training in the bench: the loop, its metrics, resuming, refusals."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import lifted
from bregbench.data import Data, Digits, Normalise
from bregbench.foundations.errors import BenchError
from bregbench.foundations.streams import Streams
from bregbench.models import Mlp, MlpAutoencoder
from bregbench.papers.lifted import Units
from bregbench.papers.lifted.chain import lift_network
from bregbench.papers.lifted.method import Lifted
from bregbench.runs.train import run_directory, train
from bregbench.schema.compose import compose
from bregbench.schema.groups import GROUPS
from bregbench.tasks.base import Classification, Reconstruct
from bregbench.tasks.context import RunContext
from bregbench.training.trainer import Training
from tests.places import without_times

SMALL = ("model=mlp", "model.hidden=[12,8]", "data.limit=200", "evaluators=[accuracy]")
FULL_BATCH = "trainer.batch_size=200"
#: every solver, in the form that keeps most from step to step
SOLVER_OVERRIDES = {
    "implicit": (
        "method.solver.order=layer",
        "method.solver.iterations=3",
        "method.multiplier_rate=0.5",
    ),
    "explicit_implicit": (
        "method.solver.optimizer=linbreg",
        "method.solver.lr=0.01",
        "method.solver.lam=0.01",
        "method.solver.iterations=3",
    ),
    "stored_stochastic": ("method.lam=5", "trainer/schedule=cosine"),
    "proximal_gradient": (FULL_BATCH, "method.solver.acceleration=nesterov"),
    "block_coordinate": (FULL_BATCH, "method.solver.inner=admm", "method.solver.parameter_steps=3"),
    "back_propagation": ("method.solver.iterations=3", "method.solver.tau=2"),
}


@pytest.fixture(scope="module")
def digits() -> Data:
    return Digits(normalise=Normalise.pixel_mean).build(torch.device("cpu"))


def context(data: Data, task=None, **options) -> RunContext:
    known = {"batch_size": 1, "steps_per_epoch": 1, "epochs": 1, "streams": Streams(0)}
    return RunContext(
        task=task or Classification(), data=data, device=torch.device("cpu"), **known | options
    )


def rows(config) -> list[dict]:
    return without_times(run_directory(config).read_metrics())


def lift(network: nn.Module, **options):
    known = {"loss": None, "lam": 1.0, "penalty": "bregman", "regularisers": {}}
    return lift_network(network, 10, **known | options)


def test_every_solver_is_covered():
    assert set(SOLVER_OVERRIDES) == {solver.kind for solver in GROUPS["method/solver"]}


@pytest.mark.parametrize("solver", SOLVER_OVERRIDES)
def test_every_solver_learns_and_resumes_bit_by_bit(make_config, train_killed, solver):
    common = (*SMALL, "method=lifted", f"method/solver={solver}", *SOLVER_OVERRIDES[solver])
    whole = make_config("trainer.batch_size=40", *common, "experiment_name=whole")
    config = make_config(
        "trainer.batch_size=40", *common, "trainer.checkpoint_minutes=1e-9", "experiment_name=cut"
    )
    train(whole)
    curve = rows(whole)
    assert curve[-1]["lifted/loss"] < curve[0]["lifted/loss"]
    # In the middle of the second epoch where there are several batches in one.
    train_killed(config, saves=4 if FULL_BATCH in common else 10)
    assert rows(config) == curve


def test_back_propagation_is_sgd(make_config):
    """The same loss, start and order of batches: two implementations of one method."""
    start = ("method.start.weights=glorot", "method.start.biases=zero")
    sgd = make_config(*SMALL, "method=sgd", "method.lr=0.5", *start)
    ours = make_config(
        *SMALL, "method=lifted_backprop", "method.loss=cross_entropy", "method.solver.lr=0.5"
    )
    train(sgd)
    train(ours)
    for one, other in zip(rows(ours), rows(sgd), strict=True):
        for key in ("train/loss", "train/accuracy", "validation/loss", "l1_norm"):
            assert one[key] == pytest.approx(other[key], rel=1e-5)
        assert one["lr"] == 0.5


def test_loop_is_the_library_on_the_same_batches(make_config):
    config = make_config(*SMALL, "method=lifted", "method.lam=3", "trainer.batch_size=50")
    training = Training(config, run_directory(config)).begin()
    twin = MlpTwin(training)
    for images, labels in training._loader:
        training.method.step(images, labels, training._loader.indices)
        twin.step(images, labels)
    for ours, theirs in zip(training.network.parameters(), twin.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


class MlpTwin:
    """The same network and solver, put together by hand."""

    def __init__(self, training: Training) -> None:
        network = Mlp(hidden=[12, 8]).build(
            input_shape=(1, 8, 8), classes=10, normalization=training.data.normalization
        )
        network.load_state_dict(training.network.state_dict())
        self.front = network[:2]
        self.network = lifted.LiftedNetwork(network[2:], lam=3.0)
        self.solver = lifted.ImplicitStochastic(self.network, rho=1.0)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.solver.step(self.front(images), nn.functional.one_hot(labels, 10).float())


def test_deterministic_energy_falls_although_the_loader_shuffles(make_config):
    """Variables of one image given to another would make it jump."""
    config = make_config(
        *SMALL, "method=lifted", "method/solver=proximal_gradient", FULL_BATCH, "trainer.epochs=8"
    )
    train(config)
    energies = [row["lifted/energy"] for row in rows(config)]
    assert all(later < earlier for earlier, later in pairwise(energies))


def test_stored_variables_belong_to_their_images(make_config):
    """With one batch per epoch and Gauss-Seidel steps the stored energy falls as well."""
    config = make_config(
        *SMALL,
        "method=lifted",
        "method/solver=stored_stochastic",
        "method.solver.sweep=gauss_seidel",
        FULL_BATCH,
        "trainer.epochs=8",
    )
    train(config)
    energies = [row["lifted/energy"] for row in rows(config)]
    assert all(later < earlier for earlier, later in pairwise(energies))


def test_larger_weights_are_more_consistent_and_multipliers_grow(make_config):
    gaps = []
    for lam in (1, 100):
        config = make_config(*SMALL, "method=lifted", f"method.lam={lam}", "trainer.batch_size=50")
        train(config)
        gaps.append(rows(config)[-1]["lifted/gap"])
    assert 0 < gaps[1] < 0.1 * gaps[0]
    config = make_config(
        *SMALL, "method=lifted", "method.multiplier_rate=2", "trainer.batch_size=50"
    )
    train(config)
    first, second, third = rows(config)
    assert first["lifted/lam/layer1"] == 1
    # B.3 with one rate: the gap is the sum of what the weights grow by, over the rate.
    growth = sum(second[f"lifted/lam/layer{i}"] - first[f"lifted/lam/layer{i}"] for i in (1, 2))
    assert growth == pytest.approx(2 * first["lifted/gap"], rel=1e-5)
    assert third["lifted/lam/layer2"] > second["lifted/lam/layer2"]


def test_classical_units_are_linear_and_bregman_units_are_not(make_config):
    """Section 2.3.2: the classical penalty trains an affine network."""
    shares = {}
    for method in ("lifted_classical", "lifted"):
        config = make_config(
            *SMALL,
            f"method={method}",
            "method.solver.iterations=8",
            "trainer.batch_size=20",
            "trainer.epochs=6",
            "evaluators=[accuracy,units]",
        )
        final = train(config)["final"]["trained"]["last"]
        shares[method] = final["linear_units/layer2"]
    assert shares["lifted_classical"] > 0.9
    assert shares["lifted"] < shares["lifted_classical"] - 0.1


def test_units_of_a_known_network(digits):
    """Layer 1 copies pixel 0 and its negative; layer 2 has one unit above zero and two below."""
    first, last = nn.Linear(64, 2), nn.Linear(2, 3)
    network = nn.Sequential(nn.Flatten(), first, nn.ReLU(), last)
    with torch.no_grad():
        first.weight.zero_()
        first.weight[:, 20] = torch.tensor([1.0, -1.0])
        first.bias.copy_(torch.tensor([0.0, -1e-3]))
        last.weight.zero_()
        last.bias.copy_(torch.tensor([1.0, -1.0, -2.0]))
    dark = (digits.test.images[:, 0].flatten(1)[:, 20] == 0).double().mean().item()
    assert 0 < dark < 1
    found = Units().evaluate(network, digits, context(digits))
    assert found == {
        "linear_units/layer1": pytest.approx(0.5),  # the first always, the second never
        "linear_units/layer2": pytest.approx(1 / 3),
        "code_sparsity/layer1": pytest.approx((1 + dark) / 2),
    }
    assert not first._forward_hooks


def test_units_agree_with_the_lifted_view(digits):
    network = Mlp(hidden=[12, 8]).build(
        input_shape=(1, 8, 8), classes=10, normalization=digits.normalization
    )
    found = Units().evaluate(network, digits, context(digits))
    chain = lift(network)
    images, labels = digits.test.images / 255, digits.test.labels
    view = lifted.Lift(chain.network, chain.inputs(images), chain.targets(labels))
    for number in range(3):
        share = (view.preactivation(number) >= 0).float().mean().item()
        assert found[f"linear_units/layer{number + 1}"] == pytest.approx(share, rel=1e-5)
    for number, code in enumerate(view.aux, start=1):
        share = (code == 0).float().mean().item()
        assert found[f"code_sparsity/layer{number}"] == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize("denormalize", [False, True])
def test_autoencoder_is_cut_where_its_layers_end(digits, denormalize):
    model = MlpAutoencoder(
        hidden=[16, 12, 16],
        activate_output=False,
        code_layer=2,
        code_threshold=0.05,
        denormalize=denormalize,
    )
    network = model.build(input_shape=(1, 8, 8), classes=10, normalization=digits.normalization)
    chain = lift(network)
    layers = chain.network.layers
    assert [type(layer.activation).__name__ for layer in layers] == [
        "ReLU",
        "SoftThreshold",
        "ReLU",
        "Identity",
    ]
    assert layers[1].activation.alpha == 0.05
    images = digits.test.images[:5] / 255
    seen = chain.outputs(chain.network(chain.inputs(images)))
    torch.testing.assert_close(seen, network(images))
    torch.testing.assert_close(chain.outputs(chain.targets(images)), images)
    # What the last layer is compared with: centred images where the output adds the mean again.
    centred = (images - digits.normalization.mean).flatten(1)
    wanted = centred if denormalize else images.flatten(1)
    torch.testing.assert_close(chain.targets(images), wanted)


def test_sparse_autoencoder_trains_and_says_what_the_figures_need(make_config, digits):
    config = make_config(
        "task=denoise",
        "task.noise=0.001",
        "model=mlp_autoencoder",
        "model.hidden=[16,16,16]",
        "model.activate_output=false",
        "model.code_layer=2",
        "model.denormalize=true",
        "data.normalise=pixel_mean",
        "data.limit=100",
        "method=lifted",
        "method.code.layer=2",
        "method.solver.iterations=5",
        "trainer.batch_size=20",
        "evaluators=[accuracy,units]",
    )
    final = train(config)["final"]["trained"]["last"]
    first, *_, last = rows(config)
    assert last["lifted/objective"] < first["lifted/objective"]
    assert last["lifted/objective"] > last["lifted/loss"]  # by the norm of the code
    assert 0 < last["lifted/auxiliary_sparsity/layer2"] < 1
    assert 0 < final["code_sparsity/layer2"] < 1
    # Half a sum of squares over 64 pixels against their mean; the validation split has 180 images.
    half = 64 / 2 * last["validation/loss"]
    assert last["lifted/validation_loss"] == pytest.approx(half, rel=1e-2)


def test_forward_metrics_are_the_networks_own(make_config):
    config = make_config(*SMALL, "method=lifted", "method.loss=cross_entropy", "trainer.epochs=1")
    train(config)
    (row,) = rows(config)
    assert row["lifted/validation_loss"] == pytest.approx(row["validation/loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model=resnet18", "model.width=2"], "needs a chain of layers .* model=mlp"),
        (["model=cnn", "model.kernel_size=2", "model.channels=[2]"], "no lifted form of MaxPool2d"),
        (["model=mlp", "model.activation=gelu"], "no lifted form of GELU"),
        (["objective=lasso"], "objective=lasso has no meaning for method=lifted"),
        (["trainer.precision=bf16"], r"trainer\.precision=bf16 has no meaning"),
        (["trainer.compile=true"], r"trainer\.compile=true has no meaning"),
        (["method.lam=0"], r"method\.lam=0.* greater than 0"),
        (["model=mlp", "model.hidden=[8,8]", "method.layer_lam=[1]"], r"lam: \[1.0\] .*2 of them"),
        (["method.code.layer=3"], "hidden layers are 1..1"),
        (["method.code.layer=1", "method.code.lam=-1"], r"method\.code\.lam=-1"),
        (["method.solver.rho=1", "method.solver.tau=1"], "are the same weight"),
        (["method.solver.step_scale=2"], "step_scale"),
        (["method/solver=proximal_gradient"], r"set trainer\.batch_size=1262"),
        (["method/solver=explicit_implicit", "method.solver.lam=1"], "without an optimiser"),
        (["method/solver=back_propagation", "method.multiplier_rate=1"], "no penalties"),
        (
            ["method/solver=back_propagation", "method.code.layer=1", "method.code.mode=iterative"],
            "back-propagation cannot take an iterative regulariser",
        ),
        (
            [
                "method/solver=explicit_implicit",
                "method.solver.optimizer=linbreg",
                "method.solver.tau=1",
            ],
            r"method\.solver\.tau=1.* has no meaning with an optimiser",
        ),
        (["model=mlp", "model.activate_output=true", "method.loss=cross_entropy"], "must end with"),
        (
            [
                "task=reconstruct",
                "model=mlp_autoencoder",
                "model.activate_output=false",
                "method.loss=cross_entropy",
            ],
            "outside the domain of the loss Softmax",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_refused_in_one_line(make_config, overrides, says):
    with pytest.raises(BenchError, match=says) as refusal:
        train(make_config("method=lifted", *overrides))
    assert len(str(refusal.value).splitlines()) == 1


def test_divergence_is_one_line(make_config):
    for rate in ("1e4", "1e30"):  # far above the start, and no number any more
        with pytest.raises(BenchError, match="loss") as refusal:
            train(make_config(*SMALL, "method=lifted_backprop", f"method.solver.lr={rate}"))
        assert len(str(refusal.value).splitlines()) == 1
        assert "step_scale" in str(refusal.value)
        assert "method.lr" not in str(refusal.value)


def test_functions_of_one_variable_are_fitted(make_config):
    config = make_config(
        "dataset=gap_function", "task=regression", "model=mlp", "model.hidden=[8]",
        "evaluators=[accuracy]", "method=lifted", "trainer.epochs=2",
    )  # fmt: skip
    train(config)
    losses = [row["train/loss"] for row in run_directory(config).read_metrics()]
    assert losses[1] < losses[0]


def test_tau_is_the_rho_of_its_convention(digits):
    network = Mlp(hidden=[4]).build(input_shape=(1, 8, 8), classes=10)
    rates = {}
    for convention in ("sum", "literal", "reciprocal"):
        config = compose(
            "method=lifted", "method.solver.tau=50", f"method.solver.tau_convention={convention}"
        )
        assert isinstance(config.method, Lifted)
        built = config.method.build(network, config.objective, context(digits, batch_size=100))
        rates[convention] = built.end_epoch({})["rho"]
        built.scale_lr(0.5)
        assert built.end_epoch({})["rho"] == 2 * rates[convention]
    assert rates == {"sum": 0.5, "literal": 50, "reciprocal": 0.02}


def test_glorot_start(make_config):
    config = make_config("method=lifted", "model=mlp", "model.hidden=[300]")
    weight = Training(config, run_directory(config)).begin().network.get_parameter("linear1.weight")
    bound = math.sqrt(6 / (64 + 300))
    assert 0.99 * bound < weight.abs().max() <= bound
    assert weight.var().item() == pytest.approx(bound**2 / 3, rel=0.05)


def test_reconstruction_targets_fit_every_batch(digits):
    """Chains of the task as well as of the method: one refusal, not a failure in the first step."""
    network = MlpAutoencoder(hidden=[8]).build(input_shape=(1, 8, 8), classes=10)
    built = Lifted().build(
        network, compose().objective, context(digits, Reconstruct(), batch_size=20)
    )
    images = digits.train.images[:20] / 255
    step = built.step(images, images)
    torch.testing.assert_close(step.loss, (step.outputs - images).square().mean())
