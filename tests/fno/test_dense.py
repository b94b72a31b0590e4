"""Convolutions as products of matrices against FFTs, and pooling against torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fno import FourierClassifier, SpectralConv2d, dense
from fno.convolution import through_fft
from fno.multiplier import multiplier_of_modes
from fno.pooling import AdaptiveAveragePool2d
from tests.fno.cases import EXACT, error, normal


def turned(images: torch.Tensor) -> torch.Tensor:
    """The same images with the batch innermost in memory."""
    return images.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)


@pytest.mark.parametrize("size", [(7, 7), (8, 8), (6, 9), (9, 4), (1, 2)])
@pytest.mark.parametrize("modes", [(1, 1), (3, 5), (4, 4), (20, 20)])
def test_dense_equals_fft_and_so_do_its_gradients(size, modes):
    kept = SpectralConv2d(2, 3, modes).product_size(size)
    images = turned(normal(4, 2, *size)).requires_grad_()
    # No real kernel has this multiplier: what FFTs make of that has to be met as well.
    multiplier = normal(3, 2, kept[0], kept[1] // 2 + 1, 2).requires_grad_()
    expected = through_fft(images, multiplier, kept, size)
    values = dense.convolve(images, dense.factors_of(multiplier), kept)
    assert error(values, expected) < EXACT
    cotangent = normal(*expected.shape)
    for mine, theirs in zip(
        torch.autograd.grad(values, (images, multiplier), cotangent),
        torch.autograd.grad(expected, (images, multiplier), cotangent),
        strict=True,
    ):
        assert error(mine, theirs) < EXACT


def test_dense_is_taken_for_few_frequencies_of_images_that_lie_well():
    images = torch.randn(4, 2, 28, 28)
    assert not dense.fits(images, 4, (3, 3))
    assert dense.fits(images, 8, (3, 3))
    assert dense.fits(turned(images), 4, (28, 28))
    assert not dense.fits(turned(torch.randn(1, 2, 59, 59)), 4, (59, 59))
    layer = SpectralConv2d(2, 4, 5)
    multiplier = multiplier_of_modes(layer.weight, (5, 5), (5, 5))
    assert layer.bias is not None
    expected = through_fft(images, multiplier, (5, 5), (28, 28)) + layer.bias[:, None, None]
    assert dense.batch_innermost(layer(turned(images)))
    assert not dense.batch_innermost(layer(images))
    assert error(layer(turned(images)), expected) < 1e-6
    assert error(layer(images), expected) < 1e-6


@pytest.mark.parametrize("target", [1, 4, (2, 3), (None, 5), 9])
def test_pooling_equals_that_of_torch(target):
    mine, theirs = AdaptiveAveragePool2d(target), nn.AdaptiveAvgPool2d(target)
    images = normal(3, 2, 9, 7)
    for layout in (images, turned(images)):
        assert error(mine(layout), theirs(images)) < EXACT


@pytest.mark.parametrize("options", [{"modes": 6}, {"kernel_size": 12}])
def test_a_network_hands_its_images_on_as_they_lie(options, monkeypatch):
    network = FourierClassifier(**options).double()
    images = normal(5, 1, 14, 14)
    orders = []
    for name in ("activation1", "activation2"):
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output: orders.append(dense.batch_innermost(output))
        )
    values = network(images)
    assert orders == [True, True]
    monkeypatch.setattr(dense, "fits", lambda *_: False)
    assert error(values, network(images)) < EXACT
    assert orders[2:] == [False, False]


def test_matrices_made_in_inference_mode_serve_training():
    layer = SpectralConv2d(1, 4, 3)
    images = torch.randn(2, 1, 11, 13)  # a size of no other test: nothing is remembered yet
    with torch.inference_mode():
        layer(images)
    layer(images).sum().backward()
    assert layer.weight.grad is not None
