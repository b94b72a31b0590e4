"""The whitening layer against the definition of whitening, and the network's symmetry."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from bregbench.data.normalization import Normalise, compute_normalization
from bregbench.foundations.errors import BenchError
from bregbench.models import WhitenedCnn
from bregbench.models.base import StartsFromData
from bregbench.models.whitened_cnn import _FLOOR, Whiten
from bregbench.runs.load import load_run
from bregbench.runs.train import run_directory, train


def smooth_images(count: int = 64) -> torch.Tensor:
    """Neighbouring pixels are alike, as in photographs."""
    noise = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return functional.interpolate(noise, size=(17, 17), mode="bilinear")


def test_whitened_patches_are_uncorrelated_with_deviation_one() -> None:
    images = smooth_images() - 0.5
    layer = Whiten(3)
    layer.start_from(images)
    with torch.no_grad():
        outputs = layer(images).double().transpose(0, 1).flatten(1)
    second = outputs @ outputs.T / outputs.shape[1]
    patches = functional.unfold(images, 2).double().transpose(0, 1).flatten(1)
    values = torch.linalg.eigvalsh(patches @ patches.T / patches.shape[1]).flip(0)
    expected = torch.diag(values / (values + _FLOOR))
    torch.testing.assert_close(second[:12, :12], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(second[12:, :12], -expected, atol=1e-4, rtol=0)


def test_directions_do_not_depend_on_the_signs_of_the_decomposition() -> None:
    one, two = Whiten(3), Whiten(3)
    images = smooth_images() - 0.5
    one.start_from(images)
    two.start_from(-images)  # the same second moments
    assert torch.equal(one.weight, two.weight)


def network(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return WhitenedCnn(channels=[24, 30], **options).build(input_shape=(3, 16, 16), classes=5)  # pyright: ignore[reportArgumentType]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_images_of_another_device_set_the_same_directions() -> None:
    one, two = network(), network()
    images = smooth_images()
    one.start_from(images)  # pyright: ignore[reportCallIssue]
    two.start_from(images.cuda())  # pyright: ignore[reportCallIssue]
    assert torch.equal(one.whiten.weight, two.whiten.weight)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]


def test_answers_are_those_of_the_mirror_image_in_evaluation_mode() -> None:
    images = torch.rand(4, 3, 16, 16)
    plain, mirrored = network(mirror=False).eval(), network().eval()
    with torch.no_grad():
        both = (plain(images) + plain(images.flip(3))) / 2
        torch.testing.assert_close(mirrored(images), both)
        torch.testing.assert_close(mirrored(images.flip(3)), both)
        assert not torch.allclose(plain(images), both, atol=1e-4)
        assert torch.equal(network().train()(images), network(mirror=False).train()(images))


def test_convolutions_begin_by_copying_their_inputs() -> None:
    weights = dict(network().named_parameters())
    first = weights["groups.group1.conv1.weight"]
    expected = torch.zeros(24, 24, 3, 3)
    expected[range(24), range(24), 1, 1] = 1
    assert torch.equal(first, expected)
    second = weights["groups.group2.conv1.weight"]
    assert torch.equal(second[:24], expected)
    assert not torch.equal(second[24:], torch.zeros(6, 24, 3, 3))


def test_default_size_and_smallest_images() -> None:
    default = WhitenedCnn().build(input_shape=(3, 32, 32), classes=10)
    assert sum(p.numel() for p in default.parameters()) == 790_232
    assert WhitenedCnn().build(input_shape=(3, 9, 9), classes=2)(torch.rand(2, 3, 9, 9)).shape == (
        2,
        2,
    )
    with pytest.raises(BenchError, match="at least 9 pixels"):
        WhitenedCnn().build(input_shape=(3, 8, 8), classes=10)


def test_a_run_sets_the_directions_by_its_training_images_and_keeps_them(make_config) -> None:
    config = make_config("model=whitened_cnn", "model.channels=[8]", "trainer.epochs=1")
    train(config)
    loaded = load_run(run_directory(config).path)
    data = config.data.build(torch.device("cpu"))
    fresh = config.model.build(
        input_shape=data.input_shape,
        classes=data.classes,
        normalization=compute_normalization(data.train.images, Normalise.channel),
    )
    assert isinstance(fresh, StartsFromData)
    fresh.start_from(data.train.images.float() / 255)
    assert torch.equal(loaded.whiten.weight, fresh.whiten.weight)  # pyright: ignore
