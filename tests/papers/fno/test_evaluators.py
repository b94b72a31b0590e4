"""Networks on the torus on the bench: resizing, accuracy over input sizes, conversions, learned modes."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from torch import nn

from bregbench.cli import evaluate as evaluate_command
from bregbench.data import Data, Normalization, Split
from bregbench.foundations.errors import BenchError
from bregbench.measures import count_macs, density, modes
from bregbench.papers.fno import Conversion, Resolution
from bregbench.papers.fno.evaluators import Judged, Truncation
from bregbench.runs.evaluate import evaluate
from bregbench.runs.train import run_directory, train
from bregbench.schema.compose import compose
from bregbench.tasks.base import Denoise
from bregbench.training.trainer import Training
from fno import SpectralConv2d, spatial_network, spectral_network
from fno.interpolation import InputResize, Interpolation, resize_images

SIZES = [4, 6, 8, 12, 16]


def made_up(count: int = 40, side: int = 8) -> Data:
    """Images of which the classes are the dark and the bright half."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, side, side), generator=generator, dtype=torch.uint8)
    means = images.float().mean((1, 2, 3))
    split = Split(images, (means.argsort().argsort() >= count // 2).long())
    return Data(
        train=split,
        validation=split,
        test=split,
        classes=2,
        normalization=Normalization.identity(1),
        name="made_up",
    )


class Threshold(nn.Module):
    """Tells bright images from dark ones by a statistic that is (or is not) the same at all sizes."""

    def __init__(self, data: Data, *, of: str) -> None:
        super().__init__()
        self.of = of
        statistics = self._statistic(data.test.images / 255).sort().values
        # Between two images, so that rounding decides nothing.
        self.middle = float(statistics[len(statistics) // 2 - 1 :][:2].mean())

    def _statistic(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3)) if self.of == "mean" else images.sum((1, 2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        difference = self._statistic(images) - self.middle
        return torch.stack([-difference, difference], dim=1)


# --- resizing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", list(Interpolation))
@pytest.mark.parametrize("size", [(3, 3), (8, 8), (5, 12), (17, 16)])
def test_resizing_keeps_constants_and_sizes(interpolation, size):
    images = torch.full((2, 3, 8, 8), 0.7, dtype=torch.float64)
    resized = resize_images(images, size, interpolation)
    assert resized.shape == (2, 3, *size)
    assert torch.allclose(resized, torch.full_like(resized, 0.7), atol=1e-12)


def test_doubling_by_each_interpolation():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    inside = {
        kind: resize_images(ramp, (16, 16), kind)[0, 0, 0, 4:12]
        for kind in (Interpolation.nearest, Interpolation.bilinear)
    }
    assert inside[Interpolation.nearest].tolist() == [2, 2, 3, 3, 4, 4, 5, 5]
    # Centres of new pixels lie a quarter of a pixel beside the old ones.
    expected = [1.75 + 0.5 * step for step in range(8)]
    assert inside[Interpolation.bilinear].tolist() == pytest.approx(expected)
    wave = torch.cos(2 * math.pi * torch.arange(8.0) / 8).expand(1, 1, 8, 8)
    doubled = resize_images(wave, (16, 16), Interpolation.trigonometric)[0, 0, 0]
    assert torch.allclose(doubled, torch.cos(2 * math.pi * torch.arange(16.0) / 16), atol=1e-6)


def test_input_resize_shows_the_network_one_size():
    seen = []
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    network.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape))
    resized = InputResize(network, (8, 8), Interpolation.bicubic)
    assert resized(torch.rand(2, 1, 11, 5)).shape == (2, 3)
    assert seen == [(2, 1, 8, 8)]


# --- the evaluator of resolution ----------------------------------------------------------------


def test_accuracies_over_sizes_are_those_of_invariant_and_of_counting_networks():
    data = made_up()
    mean = evaluate(Threshold(data, of="mean"), data, [Resolution(SIZES)])
    # Trigonometric interpolation keeps means, so that every size gives the same answers.
    assert {mean[f"resolution/trigonometric_{size}"] for size in SIZES} == {1.0}
    count = evaluate(Threshold(data, of="sum"), data, [Resolution(SIZES)])
    for name in ("resolution/trigonometric", "resolution/bilinear"):
        # A sum over fewer pixels is below the threshold, whatever the image; over more, above it.
        found = [count[f"{name}_{size}"] for size in SIZES]
        assert found == [0.5, 0.5, 1.0, 0.5, 0.5]
    # Behind an interpolation of its input it is invariant where that undoes the resizing of the data.
    for size in (8, 12, 16):
        assert count[f"resolution/trigonometric/trigonometric_{size}"] == 1.0


@pytest.mark.parametrize("normalise", ["channel", "half"])
@pytest.mark.parametrize("model", ["cnn_circular", "fno"])
def test_every_network_agrees_at_the_size_of_the_data(make_config, model, normalise):
    config = make_config(f"model={model}", f"data.normalise={normalise}")
    training = Training(config, run_directory(config)).begin()
    network, data = training.network.eval(), training.data
    judged = [*Resolution().networks, Judged.nearest, Judged.bicubic]
    found = evaluate(network, data, [Resolution([8, 11], networks=judged)])
    other = "spectral" if model == "cnn_circular" else "spatial"
    for data_sizing in ("trigonometric", "bilinear"):
        names = [f"resolution/{data_sizing}", f"resolution/{other}/{data_sizing}"]
        names += [f"resolution/{kind.value}/{data_sizing}" for kind in Interpolation]
        assert len({found[f"{name}_8"] for name in names}) == 1
        assert set(found) >= {f"{name}_11" for name in names}
    assert found["resolution/trigonometric/trigonometric_11"] == found["resolution/bilinear_8"]


def test_sizes_follow_the_images_and_samples_are_smaller(make_config):
    data = made_up(side=8)
    found = evaluate(Threshold(data, of="mean"), data, [Resolution(images=10)])
    sizes = {int(name.rpartition("_")[2]) for name in found}
    assert sizes == {2, 4, 6, 8, 10, 12, 16}
    assert all(round(10 * value, 6).is_integer() for value in found.values())


def test_networks_of_one_size_are_judged_behind_interpolations_alone(capsys):
    data = made_up()
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    found = evaluate(network, data, [Resolution([4, 8])])
    assert {name for name in found if name.count("/") == 1} == {
        "resolution/trigonometric_8",
        "resolution/bilinear_8",
    }
    assert "resolution/bilinear/trigonometric_4" in found
    said = capsys.readouterr().err
    assert "leaves out networks=[network]: it takes no images of 4 x 4" in said
    assert "leaves out networks=[spectral]: it has no circular convolutions" in said


@pytest.mark.parametrize("evaluator", [Resolution([0]), Resolution(images=0), Conversion([0])])
def test_values_out_of_range_are_refused(evaluator):
    data = made_up()
    with pytest.raises(BenchError, match="is out of range"):
        evaluate(Threshold(data, of="mean"), data, [evaluator])


def test_other_tasks_are_refused():
    data = made_up()
    for evaluator in (Resolution(), Conversion()):
        with pytest.raises(BenchError, match="task=denoise has none: use it with task=class"):
            evaluate(nn.Identity(), data, [evaluator], task=Denoise())


@pytest.mark.parametrize(
    "model",
    [
        ["model=cnn", "model.channels=[4,4]", "model.kernel_size=2"],
        ["model=cnn_circular"],
        ["model=resnet18", "model.width=2"],
        ["model=spectral_resnet18", "model.width=2"],
        ["model=fno", "model.modes=4"],
    ],
    ids=lambda model: model[0],
)
def test_command_measures_any_finished_run(make_config, model, monkeypatch, capsys):
    config = make_config(*model, "method=adam", "trainer.epochs=1", "trainer.max_steps=2")
    train(config)
    path = run_directory(config).path
    arguments = [f"run={path}", "evaluators=[resolution]", "evaluators.resolution.sizes=[5,8]"]
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["bregbench evaluate", *arguments, "device=cpu"])
    with pytest.raises(SystemExit) as exit_:
        evaluate_command.main()
    assert not exit_.value.code
    assert "resolution/bilinear/trigonometric_5" in capsys.readouterr().out
    final = run_directory(config).read_summary()["final"]["trained"]["last"]
    assert final["resolution/bilinear_8"] == final["test/accuracy"]
    converted = {name.split("/")[1] for name in final if name.startswith("resolution/spe")}
    assert bool(converted) == (model[0] in ("model=cnn_circular", "model=spectral_resnet18"))


# --- conversions --------------------------------------------------------------------------------


def test_conversion_is_exact_with_all_modes_and_with_those_that_there_are(make_config):
    config = make_config("model=fno", "model.modes=3", "trainer.epochs=1", "method=adam")
    training = Training(config, run_directory(config)).begin()
    network, data = training.network.eval(), training.data
    # Random weights guess all alike; spread the answers.
    with torch.no_grad():
        network.get_parameter("linear1.weight").mul_(20)
    truth = evaluate(network, data, [Resolution([8])])["resolution/bilinear_8"]
    found = evaluate(network, data, [Conversion()])
    assert found == {"conversion/spatial": truth}
    kernels = spatial_network(network, torch.rand(1, 1, 8, 8))
    found = evaluate(kernels, data, [Conversion([1, 2, 3, 5, 8])])
    assert {found[f"conversion/modes_{count}"] for count in (3, 5, 8)} == {truth}
    assert found["conversion/modes_1"] != truth


def test_conversion_measures_the_published_cut_beside_the_clean_one(make_config, capsys):
    training = Training(make_config("model=cnn_circular"), run_directory(make_config())).begin()
    network, data = training.network.eval(), training.data
    with torch.no_grad():
        network.get_parameter("linear1.weight").mul_(20)
    found = evaluate(network, data, [Conversion([1, 3, 8], truncation=list(Truncation))])
    assert set(found) == {
        *(f"conversion/modes_{count}" for count in (1, 3, 8)),
        *(f"conversion/published/modes_{count}" for count in (3, 8)),
    }
    assert found["conversion/published/modes_8"] == found["conversion/modes_8"]
    example = torch.rand(1, 1, 8, 8)
    halved = spectral_network(network, example, modes=3, truncation="published")
    truth = evaluate(halved, data, [Resolution([8], networks=[Judged.network])])
    assert found["conversion/published/modes_3"] == truth["resolution/bilinear_8"]
    assert found["conversion/published/modes_3"] != found["conversion/modes_3"]
    said = capsys.readouterr().err
    assert "leaves out conversion/published/modes_1: " in said
    with pytest.raises(BenchError, match=r"evaluators.conversion.truncation=\[\]"):
        evaluate(network, data, [Conversion(truncation=[])])


def test_conversion_wants_something_to_convert():
    data = made_up()
    with pytest.raises(BenchError, match=r"nothing to convert .* model=cnn_circular, fno or"):
        evaluate(Threshold(data, of="mean"), data, [Conversion()])


# --- networks and measures ----------------------------------------------------------------------


def test_networks_have_the_published_sizes():
    def parameters(*overrides: str) -> int:
        network = compose(*overrides).model.build(input_shape=(1, 28, 28), classes=10)
        return sum(parameter.numel() for parameter in network.parameters())

    assert parameters("model=cnn_circular") == 37_586
    assert parameters("model=cnn_circular", "model.kernel_size=28") == 140_810
    # As many complex numbers as the published converted network: 28 x 15 of them for each kernel.
    spectral = 2 * 28 * 15 * (8 + 8 * 16)
    assert parameters("model=fno", "model.modes=28") == spectral + 34_186


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["model=cnn_circular", "model.kernel_size=0"], "model.kernel_size=0"),
        (["model=cnn_circular", "model.channels=[]"], r"model.channels=\[\]"),
        (["model=cnn_circular", "model.activation=tanh"], "model.activation=tanh"),
        (["model=fno", "model.modes=0"], "model.modes=0"),
        (["model=fno", "model.pool=0"], "model.pool=0"),
        (["model=spectral_resnet18", "model.width=0"], "model.width=0"),
        (["model=spectral_resnet18", "model.modes=0"], "model.modes=0"),
    ],
)
def test_sizes_out_of_range_are_refused(overrides, key):
    with pytest.raises(BenchError, match=f"{key} is out of range"):
        compose(*overrides)


@pytest.mark.parametrize("striding", ["trigonometric", "sampling"])
def test_residual_network_takes_both_parametrisations_and_strides(striding):
    spectral = [] if striding == "sampling" else ["model.modes=5"]
    model = compose(
        "model=spectral_resnet18", "model.width=2", f"model.striding={striding}", *spectral
    ).model
    network = model.build(input_shape=(3, 16, 16), classes=4).eval()
    assert any(isinstance(module, SpectralConv2d) for module in network.modules()) == bool(spectral)
    for size in (11, 16, 24):
        assert network(torch.rand(2, 3, size, size)).shape == (2, 4)


def test_spectral_layers_count_in_densities_and_products():
    layer = SpectralConv2d(2, 3, 5, bias=False)
    network = nn.Sequential(layer, nn.Conv2d(3, 1, 1, bias=False))
    with torch.no_grad():
        layer.weight[:, 1].zero_()
        layer.weight[0, 0, 1, 1].zero_()
    room = layer.weight.numel()
    found = density(network)
    assert found["density/conv_kernels"] == (3 + 3) / (6 + 3)
    dead = int((layer.weight[:, 0] == 0).sum())
    assert dead >= 2
    assert found["density/total"] == pytest.approx((room / 2 - dead + 3) / (room + 3))
    # Four products per pair of channels and frequency of the half spectrum that the layer needs.
    assert count_macs(network, (2, 8, 8)).layers == {"0": 4 * 6 * 5 * 3, "1": 64 * 3}
    assert count_macs(network, (2, 4, 4)).layers["0"] == 4 * 6 * 4 * 3
    assert modes(network) == {"modes/0": 25, "modes/total": 25, "modes/kept": 1.0}
    assert modes(nn.Conv2d(3, 1, 1)) == {}


def test_fno_trains_in_every_layout_alike(make_config):
    losses = []
    for layout in ("true", "false"):
        config = make_config(
            *("model=fno", "model.modes=5", "model.pointwise=true", "method=adam"),
            *("trainer.epochs=1", "trainer.max_steps=5", f"trainer.channels_last={layout}"),
        )
        train(config)
        losses.append(run_directory(config).read_metrics()[-1]["train/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


# --- learned modes ------------------------------------------------------------------------------


def test_linbreg_switches_on_whole_frequencies(make_config):
    config = make_config(
        *("model=fno", "model.modes=7", "method=linbreg", "method/penalty=frequencies"),
        *("method.start.weights=default", "method.start.biases=default"),
        *("method.start.density=1", "method.start.frequencies=1"),
        *("method.lr=0.5", "method.lam=0.001", "trainer.epochs=2"),
    )
    initial = train(config)["initial"]
    assert (initial["modes/conv1"], initial["modes/conv2"]) == (9, 9)
    assert initial["modes/total"] == 18
    assert initial["modes/kept"] == 18 / 98
    final = run_directory(config).read_summary()["final"]["trained"]["last"]
    assert 9 < final["modes/conv2"] < 49
    assert final["density/linear"] == 1
    table = run_directory(config).penalties.read_text()
    assert table.count("l12") == 2
    assert "(0, 1, 4)" in table
    training = Training(config, run_directory(config)).begin()
    for _ in range(20):
        images = torch.rand(16, 1, 8, 8)
        training.method.step(images, torch.randint(0, 10, (16,)))
    weight = training.network.get_parameter("conv2.weight").detach()
    used = (weight != 0).any(-1)
    # A frequency is there for all pairs of channels or for none.
    assert torch.equal(used.any(0).any(0), used.all(0).all(0))


def test_radius_of_the_start_is_checked(make_config):
    with pytest.raises(BenchError, match=r"method.start.frequencies=-1 is out of range"):
        make_config("model=fno", "method.start.frequencies=-1")
