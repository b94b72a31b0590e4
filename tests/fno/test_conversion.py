"""Lemma 3 in both directions, for layers and whole networks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from fno import (
    CircularConv2d,
    FourierClassifier,
    SpectralConv2d,
    TrigonometricResize,
    spatial_network,
    spectral_network,
    to_spatial,
    to_spectral,
)
from tests.fno.cases import EXACT, SIZES, error, normal


def low_pass(images: torch.Tensor, modes: int) -> torch.Tensor:
    """Drop every frequency with |k1| or |k2| above the middle of an odd number of modes."""
    spectrum = torch.fft.fft2(images)
    for axis in (-2, -1):
        k = torch.fft.fftfreq(images.shape[axis], 1 / images.shape[axis]).abs()
        keep = (k <= modes // 2).double()
        spectrum = spectrum * (keep[:, None] if axis == -2 else keep)
    return torch.fft.ifft2(spectrum).real


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 2), (4, 5), (6, 3)])
def test_lemma_3_for_all_parities(size, kernel):
    conv = CircularConv2d(4, 6, kernel, groups=2, method="fft").double()
    images = normal(2, 4, *size)
    spectral = to_spectral(conv, size)
    assert spectral.modes == size
    assert error(spectral(images), conv(images)) < EXACT
    back = to_spatial(spectral)
    assert isinstance(back, CircularConv2d)
    assert back.kernel_size == size
    assert error(back(images), conv(images)) < EXACT


@pytest.mark.parametrize("size", [(5, 5), (6, 6), (9, 8), (3, 4)])
@pytest.mark.parametrize("modes", [3, 4, (5, 6), 7])
def test_a_spectral_layer_is_a_convolution_on_every_grid(size, modes):
    spectral = SpectralConv2d(2, 3, modes, pointwise=True).double()
    images = normal(2, 2, *size)
    assert error(to_spatial(spectral, size)(images), spectral(images)) < EXACT


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"stride": 2, "striding": "sampling"}, {"activation": "gelu"}]
)
def test_to_spatial_keeps_strides_and_gelu(options):
    spectral = SpectralConv2d(2, 3, 5, **options).double().eval()
    images = normal(2, 2, 8, 7)
    spatial = to_spatial(spectral, (8, 7))
    assert not spatial.training
    assert error(spatial(images), spectral(images)) < EXACT


def test_plain_convolutions_are_converted():
    images = normal(2, 2, 8, 7)
    cases: tuple[dict[str, Any], ...] = (
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 5, "padding": (4, 2), "dilation": (2, 1)},
        {"kernel_size": 4, "padding": "same"},
        {"kernel_size": 1},
    )
    for options in cases:
        conv = nn.Conv2d(2, 4, padding_mode="circular", groups=2, **options).double()
        assert error(to_spectral(conv, (8, 7))(images), conv(images)) < EXACT


@pytest.mark.parametrize("modes", [3, 5, 27])
@pytest.mark.parametrize("size", [27, 28])
def test_fewer_modes_are_a_low_pass_of_the_kernel(modes, size):
    conv = CircularConv2d(1, 2, 5, bias=False).double()
    images = normal(1, 1, size, size)
    truncated = to_spectral(conv, size, modes=modes)
    assert truncated.modes == (modes, modes)
    assert error(truncated(images), conv(low_pass(images, modes))) < EXACT


def test_an_even_number_of_modes_keeps_the_mean_of_the_nyquist_sides():
    conv, images = CircularConv2d(1, 1, 5, bias=False).double(), normal(1, 1, 9, 9)
    truncated = to_spectral(conv, 9, modes=4)
    plane = truncated.multiplier(9)[0, 0]
    full = to_spectral(conv, 9).multiplier(9)[0, 0]
    assert error(plane[:2, :2], full[:2, :2]) < EXACT
    assert error(plane[2, 1], (full[2, 1] + full[7, 1]) / 2) < EXACT
    assert plane[3:7].abs().max() == 0
    assert truncated(images).shape == images.shape


def test_conversion_keeps_what_belongs_to_the_layer():
    conv = CircularConv2d(2, 3, 3).half().eval()
    conv.weight.requires_grad_(False)
    spectral = to_spectral(conv, 6)
    assert spectral.weight.dtype == torch.float16
    assert not spectral.training
    assert not spectral.weight.requires_grad
    assert spectral.bias is not None
    assert spectral.bias.requires_grad
    assert spectral.bias is not conv.bias


def test_convolutions_that_are_not_circular_are_refused():
    cases: tuple[dict[str, Any], ...] = (
        {"padding": 1},
        {"padding_mode": "circular"},
        {"padding": "valid"},
    )
    for options in cases:
        with pytest.raises(ValueError, match="no circular convolution"):
            to_spectral(nn.Conv2d(1, 1, 3, **options), 8)
    with pytest.raises(TypeError, match="Linear"):
        to_spectral(nn.Linear(1, 1), 8)  # type: ignore[arg-type]
    network = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 3, padding=1))
    with pytest.raises(ValueError, match=r"module '1'.*no circular convolution"):
        spectral_network(network, torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("size", [(13, 13), (14, 12)])
def test_networks_are_converted_there_and_back(size):
    network = FourierClassifier(kernel_size=5, channels=(4, 6), bias=True).double()
    before = copy.deepcopy(network.state_dict())
    images = normal(3, 1, *size)
    spectral = spectral_network(network, images)
    assert error(spectral(images), network(images)) < EXACT
    assert error(spatial_network(spectral, images)(images), network(images)) < EXACT
    assert not any(isinstance(m, nn.Conv2d) for m in spectral.modules())
    with torch.no_grad():
        for parameter in spectral.parameters():
            parameter.zero_()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_networks_can_be_truncated():
    network = nn.Sequential(
        CircularConv2d(1, 2, 3), TrigonometricResize(stride=4), CircularConv2d(2, 2, 3)
    )
    spectral = spectral_network(network, torch.zeros(1, 1, 12, 12), modes=(5, 7))
    assert isinstance(spectral, nn.Sequential)
    assert [m.modes for m in spectral if isinstance(m, SpectralConv2d)] == [(5, 7), (3, 3)]


def test_a_layer_alone_a_shared_one_and_an_unused_one():
    images = torch.zeros(1, 2, 6, 6)
    conv = CircularConv2d(2, 2, 3)
    assert isinstance(spectral_network(conv, images), SpectralConv2d)
    shared = spectral_network(nn.Sequential(conv, nn.ReLU(), conv), images)
    assert isinstance(shared, nn.Sequential)
    assert isinstance(shared[0], SpectralConv2d)
    assert shared[0] is shared[2]
    twice = nn.Sequential(conv, TrigonometricResize(4), conv)
    with pytest.raises(ValueError, match=r"module '0' is used at sizes \(6, 6\) and \(4, 4\)"):
        spectral_network(twice, images)
    assert twice.training
