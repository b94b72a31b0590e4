"""Circular convolutions through the FFT against torch's own."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from fno import CircularConv2d, dense
from tests.fno.cases import EXACT, error, normal

KERNELS = ((1, 1), (2, 2), (3, 3), (4, 3), (5, 6), (8, 7))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(7, 7), (8, 8), (9, 6)])
def test_fft_equals_torch(kernel, size):
    for groups, dilation in itertools.product((1, 2), ((1, 1), (1, 2))):
        options = {"groups": groups, "dilation": dilation, "bias": groups == 1}
        layer = CircularConv2d(2, 4, kernel, method="fft", **options).double()
        conv = nn.Conv2d(2, 4, kernel, padding="same", padding_mode="circular", **options).double()
        conv.load_state_dict(layer.state_dict())
        images = normal(2, 2, *size)
        try:
            expected = conv(images)
        except RuntimeError as refusal:  # more padding than pixels
            assert "wrap" in str(refusal)  # noqa: PT017
            continue
        assert error(layer(images), expected) < EXACT


@pytest.mark.parametrize("stride", [2, (1, 3)])
@pytest.mark.parametrize("kernel", [3, (5, 4)])
def test_stride_keeps_pixels_in_both_methods(kernel, stride):
    direct = CircularConv2d(2, 3, kernel, stride=stride, method="direct").double()
    fft = CircularConv2d(2, 3, kernel, stride=stride, method="fft").double()
    plain = CircularConv2d(2, 3, kernel, method="fft").double()
    fft.load_state_dict(direct.state_dict())
    plain.load_state_dict(direct.state_dict())
    images = normal(2, 2, 9, 8)
    s1, s2 = direct.stride
    expected = plain(images)[..., ::s1, ::s2]
    assert error(direct(images), expected) < EXACT
    assert error(fft(images), expected) < EXACT


def test_kernels_larger_than_the_image_wrap_around():
    layer = CircularConv2d(1, 1, (9, 4), bias=False).double()
    images = normal(1, 1, 4, 3)
    repeated = images.repeat(1, 1, 5, 5)  # a torus unrolled: every window is inside the middle
    large = layer(repeated)
    assert error(layer(images), large[..., 8:12, 6:9]) < EXACT


def test_auto_takes_the_fft_for_large_kernels():
    images = normal(1, 1, 28, 28)
    for kernel in (3, 28):
        auto = CircularConv2d(1, 2, kernel).double()
        direct = CircularConv2d(1, 2, kernel, method="direct").double()
        direct.load_state_dict(auto.state_dict())
        assert error(auto(images), direct(images)) < EXACT
        assert torch.equal(auto(images), direct(images)) == (kernel == 3)


def test_auto_takes_matrices_for_middling_kernels_on_small_images_in_full_precision(monkeypatch):
    calls: list[bool] = []
    convolve = dense.convolve
    monkeypatch.setattr(dense, "convolve", lambda *args: calls.append(True) or convolve(*args))

    def taken(images, kernel=5, **options):
        auto = CircularConv2d(1, 4, kernel, **options).to(images)
        direct = CircularConv2d(1, 4, kernel, method="direct", **options).to(images)
        direct.load_state_dict(auto.state_dict())
        calls.clear()
        assert error(auto(images).double(), direct(images).double()) < 1e-5
        return bool(calls)

    images = torch.randn(3, 1, 28, 28)
    assert taken(images)
    assert taken(images.double(), kernel=7)
    assert not taken(images, kernel=4)
    assert not taken(torch.randn(3, 1, 56, 56))
    assert not taken(images.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert not taken(images)


def test_is_a_conv2d_for_everybody_else():
    layer = CircularConv2d(2, 3, 5)
    assert isinstance(layer, nn.Conv2d)
    assert layer.weight.shape == (3, 2, 5, 5)


def test_errors_name_the_value():
    with pytest.raises(ValueError, match="Invalid method: 'fast'"):
        CircularConv2d(1, 1, 3, method="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Invalid kernel_size: 0"):
        CircularConv2d(1, 1, 0)
