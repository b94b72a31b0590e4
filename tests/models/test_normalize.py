"""Normalisation as a layer, and the numerical modes that networks must work in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bregbench.data.normalization import Normalise, Normalization, compute_normalization
from bregbench.models import Cnn, Lenet5, Mlp, ModelConfig, Normalize, Resnet18
from bregbench.models.normalize import Denormalize


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (50, 3, 6, 5), dtype=torch.uint8, generator=generator)


def test_channel_statistics_standardise_the_training_images(images: torch.Tensor) -> None:
    normalized = Normalize(compute_normalization(images, Normalise.channel))(images.float() / 255)
    torch.testing.assert_close(normalized.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    deviation = normalized.std(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(deviation, torch.ones(3), atol=1e-5, rtol=0)


def test_pixel_mean_centres_every_pixel(images: torch.Tensor) -> None:
    normalization = compute_normalization(images, Normalise.pixel_mean)
    assert normalization.mean.shape == (3, 6, 5)
    normalized = Normalize(normalization)(images.float() / 255)
    torch.testing.assert_close(normalized.mean(dim=0), torch.zeros(3, 6, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(normalized[0], images[0] / 255 - normalization.mean)


def test_none_changes_nothing(images: torch.Tensor) -> None:
    inputs = images.float() / 255
    assert torch.equal(Normalize(compute_normalization(images, Normalise.none))(inputs), inputs)


def test_half_brings_every_channel_to_the_range_from_minus_one_to_one(images: torch.Tensor) -> None:
    normalization = compute_normalization(images, Normalise.half)
    inputs = images.double() / 255
    expected = (inputs - 0.5) / 0.5
    torch.testing.assert_close(Normalize(normalization)(inputs), expected, rtol=0, atol=1e-15)
    # No statistics of images: other ones give the same map.
    other = compute_normalization(images[:1] // 7, Normalise.half)
    assert torch.equal(normalization.mean, other.mean)
    assert torch.equal(normalization.std, other.std)
    black_and_white = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 3, 6, 5)
    assert Normalize(normalization)(black_and_white).unique().tolist() == [-1, 1]


@pytest.mark.parametrize("normalise", list(Normalise))
def test_denormalised_images_are_those_before(images: torch.Tensor, normalise: Normalise) -> None:
    normalization = compute_normalization(images, normalise)
    inputs = images.double() / 255
    normalize, denormalize = Normalize(normalization), Denormalize(normalization)
    torch.testing.assert_close(denormalize(normalize(inputs)), inputs, rtol=0, atol=1e-12)
    torch.testing.assert_close(denormalize.inverse(inputs), normalize(inputs), rtol=0, atol=0)


def test_statistics_do_not_depend_on_the_order_or_the_chunks(
    images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compute_normalization(images, Normalise.channel)
    monkeypatch.setattr("bregbench.data.normalization._CHUNK", 7)
    parts = compute_normalization(images.flip(0), Normalise.channel)
    assert torch.equal(whole.mean, parts.mean)
    assert torch.equal(whole.std, parts.std)


def test_a_constant_channel_is_centred_and_not_divided_by_zero() -> None:
    images = torch.full((4, 1, 2, 2), 37, dtype=torch.uint8)
    normalized = Normalize(compute_normalization(images, Normalise.channel))(images.float() / 255)
    assert torch.equal(normalized, torch.zeros(4, 1, 2, 2))


def test_statistics_travel_with_the_state_dict() -> None:
    normalization = Normalization(mean=torch.tensor([[[0.3]]]), std=torch.tensor([[[0.2]]]))
    source = Mlp().build(input_shape=(1, 4, 4), classes=2, normalization=normalization)
    target = Mlp().build(input_shape=(1, 4, 4), classes=2)
    target.load_state_dict(source.state_dict())
    inputs = torch.rand(3, 1, 4, 4)
    assert torch.equal(source(inputs), target(inputs))
    assert not list(Normalize(normalization).parameters())


MODELS = [Mlp(), Cnn(channels=[8, 8]), Lenet5(), Resnet18(width=4)]


def build(config: ModelConfig, *, normalise: Normalise) -> nn.Module:
    images = torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8)
    normalization = compute_normalization(images, normalise)
    return config.build(input_shape=(3, 32, 32), classes=10, normalization=normalization).eval()


@pytest.mark.parametrize("config", MODELS)
@pytest.mark.parametrize("normalise", [Normalise.channel, Normalise.pixel_mean, Normalise.half])
def test_channels_last_gives_the_same_logits(config: ModelConfig, normalise: Normalise) -> None:
    network = build(config, normalise=normalise)
    inputs = torch.rand(5, 3, 32, 32)
    expected = network(inputs)
    network = network.to(memory_format=torch.channels_last)
    nhwc = inputs.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(nhwc), expected, atol=1e-5, rtol=1e-4)
    normalized = network.get_submodule("normalize")(nhwc)
    assert normalized.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("config", MODELS)
def test_bfloat16_autocast_is_close(config: ModelConfig) -> None:
    network = build(config, normalise=Normalise.channel)
    inputs = torch.rand(5, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(inputs)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), network(inputs), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("config", MODELS)
def test_networks_are_captured_in_one_graph(config: ModelConfig) -> None:
    network = build(config, normalise=Normalise.channel)
    inputs = torch.rand(2, 3, 32, 32)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(inputs), network(inputs))
