"""Tasks beyond classification: denoising and reconstruction, and how well images come back."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bregbench.data import Data, Digits
from bregbench.evaluators import FeatureMaps, Reconstruction
from bregbench.evaluators.pictures import feature_maps
from bregbench.foundations.errors import BenchError
from bregbench.foundations.streams import Streams
from bregbench.models import Cnn, MlpAutoencoder
from bregbench.runs.train import run_directory, train
from bregbench.tasks.base import Classification, Denoise, Reconstruct
from bregbench.tasks.context import RunContext
from bregbench.tasks.scoring import score

SMALL = ("task=denoise", "model=mlp_autoencoder", "model.hidden=[16]", "method=linbreg")


@pytest.fixture(scope="module")
def digits() -> Data:
    return Digits().build(torch.device("cpu"))


def context(data: Data, task) -> RunContext:
    return RunContext(
        task=task,
        data=data,
        batch_size=1,
        steps_per_epoch=1,
        epochs=1,
        device=torch.device("cpu"),
        streams=Streams(0),
    )


def test_noise_has_its_deviation_and_targets_are_clean():
    images = torch.rand(50, 1, 28, 28)
    inputs, targets = Denoise(noise=0.2).pose(images, torch.zeros(50), torch.Generator())
    assert torch.equal(targets, images)
    noise = inputs - images
    assert noise.std().item() == pytest.approx(0.2, rel=0.03)
    assert abs(noise.mean().item()) < 4 * 0.2 / math.sqrt(noise.numel())
    same, _ = Denoise(noise=0.0).pose(images, torch.zeros(50), torch.Generator())
    assert torch.equal(same, Reconstruct().pose(images, torch.zeros(50), torch.Generator())[0])


def test_psnr_of_a_known_error():
    targets = torch.rand(3, 1, 4, 4)
    errors = torch.tensor([0.1, 0.01, 1.0]).view(3, 1, 1, 1)
    task = Reconstruct()
    assert task.scores(targets + errors, targets)["psnr"].item() == pytest.approx(20 + 40 + 0)
    mean = (0.01 + 0.0001 + 1) / 3
    assert task.loss(targets + errors, targets).item() == pytest.approx(mean, rel=1e-5)


def test_identity_is_judged_by_the_noise_alone_and_alike_every_time(digits):
    task = Denoise(noise=0.1)
    first, second = (
        score(nn.Identity(), digits.test, context(digits, task), "test") for _ in range(2)
    )
    assert first == second
    assert first["test/loss"] == pytest.approx(0.01, rel=0.05)
    assert first["test/psnr"] == pytest.approx(20, abs=0.3)


@pytest.mark.parametrize(
    ("overrides", "shapes"),
    [
        (["task=denoise", "model=mlp"], r"needs outputs of shape \(1, 8, 8\).*has \(10,\)"),
        (["model=mlp_autoencoder"], r"needs outputs of shape \(10,\).*has \(1, 8, 8\)"),
        (["task=denoise", "model=mlp_autoencoder", "task.noise=-1"], r"task\.noise=-1"),
    ],
)
def test_network_that_does_not_fit_the_task_is_refused(make_config, overrides, shapes):
    with pytest.raises(BenchError, match=shapes):
        train(make_config(*overrides))


def test_default_autoencoder_is_six_layers_as_wide_as_the_image():
    network = MlpAutoencoder().build(input_shape=(1, 28, 28), classes=10)
    weights = [p for p in network.parameters() if p.dim() == 2]
    assert [tuple(w.shape) for w in weights] == [(784, 784)] * 6
    outputs = network(torch.rand(2, 1, 28, 28))
    assert outputs.shape == (2, 1, 28, 28)
    assert outputs.min() >= 0  # a ReLU at the end


def test_denoising_is_learned_and_leaves_pictures(make_config):
    config = make_config(
        *SMALL,
        "method.lam=0.001",
        "method.lr=1",
        "method.start.density=0.5",
        "trainer.epochs=20",
        "evaluators=[accuracy,density,reconstruction]",
        "evaluators.reconstruction.images=3",
    )
    summary = train(config)
    final = summary["final"]["trained"]["last"]
    assert final["validation/psnr"] > summary["initial"]["validation/psnr"] + 3
    assert 0.5 < final["reconstruction/ssim"] < 1
    best = max(row["validation/psnr"] for row in run_directory(config).read_metrics())
    assert summary["best"]["value"] == best
    traces = load_file(run_directory(config).traces)
    assert {name: tuple(t.shape) for name, t in traces.items()} == {
        f"reconstruction/{name}": (3, 1, 8, 8) for name in ("inputs", "outputs", "targets")
    }


def test_resume_draws_the_noise_that_was_to_come(make_config, train_killed):
    whole, broken = (make_config(*SMALL, f"experiment_name={name}") for name in "ab")
    train(whole)
    train_killed(broken, saves=2)
    curves = [
        [row["train/loss"] for row in run_directory(config).read_metrics()]
        for config in (whole, broken)
    ]
    assert curves[0] == curves[1]


def test_similarity_of_known_images(digits):
    task = Reconstruct()
    found = Reconstruction().evaluate(nn.Identity(), digits, context(digits, task))
    assert found == {"reconstruction/ssim": 1.0, "reconstruction/input_ssim": 1.0}
    noisy = Reconstruction().evaluate(nn.Identity(), digits, context(digits, Denoise(noise=0.3)))
    assert noisy["reconstruction/ssim"] == noisy["reconstruction/input_ssim"] < 0.9


def test_similarity_needs_images(digits):
    network = nn.Flatten()
    with pytest.raises(BenchError, match="task=denoise or task=reconstruct"):
        Reconstruction().evaluate(network, digits, context(digits, Classification()))


def test_feature_maps_are_what_the_layer_computes(digits):
    network = Cnn(channels=[4, 4], kernel_size=2).build(input_shape=(1, 8, 8), classes=10).eval()
    image = digits.validation.images[2]
    conv = network.get_submodule("conv1")
    expected = conv(network.get_submodule("normalize")(image[None] / 255))[0]
    assert torch.allclose(feature_maps(network, "conv1", image), expected, atol=1e-6)
    assert not conv._forward_hooks
    traces = FeatureMaps(image=2).traces(network, digits, context(digits, Classification()))
    assert torch.equal(traces["input"], image)
    assert torch.allclose(traces["maps"].float(), expected, atol=1e-2)
    with pytest.raises(BenchError, match="layer=conv9 is unknown: choose from normalize, conv1"):
        feature_maps(network, "conv9", image)
    with pytest.raises(BenchError, match=r"feature_maps\.image=100000"):
        FeatureMaps(image=100000).traces(network, digits, context(digits, Classification()))
