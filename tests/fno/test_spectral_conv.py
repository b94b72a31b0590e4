"""The spectral layer against eq. 8 on full spectra, Corollary 1, and its options."""

from __future__ import annotations

import itertools

import pytest
import torch

from fno import SpectralConv2d, TrigonometricResize, trigonometric_resize
from tests.fno.cases import (
    EXACT,
    convolve,
    error,
    normal,
    reflect,
    spectral_reference,
)

MODES = ((1, 1), (3, 3), (4, 4), (5, 4), (6, 7), (8, 8))


def layer(*args, **options) -> SpectralConv2d:
    """A layer in float64 whose redundant entries do not fit together."""
    made = SpectralConv2d(*args, **options).double()
    torch.nn.init.normal_(made.weight)
    return made


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 5), (6, 6), (7, 8), (9, 4)])
def test_values_are_those_of_equation_8(modes, size):
    spectral = SpectralConv2d(2, 3, modes, bias=False).double()
    images = normal(2, 2, *size)
    expected = spectral_reference(spectral.weight.detach(), modes, images)
    assert error(spectral(images), expected) < EXACT


@pytest.mark.parametrize("modes", MODES)
def test_weights_without_symmetry_act_as_their_symmetric_part(modes):
    spectral, images = layer(2, 3, modes), normal(2, 2, 8, 8)
    symmetric = layer(2, 3, modes)
    symmetric.load_state_dict(spectral.state_dict())
    weight = torch.view_as_complex(spectral.weight.detach())
    kernels = torch.fft.irfft2(weight, s=modes)  # real kernels see the symmetric part only
    with torch.no_grad():
        symmetric.weight.copy_(torch.view_as_real(torch.fft.rfft2(kernels)))
    assert error(spectral(images), symmetric(images)) < EXACT


@pytest.mark.parametrize("modes", [(3, 3), (4, 4), (5, 6), (6, 6)])
def test_corollary_1_commutes_with_resizing(modes):
    spectral = layer(2, 3, modes, pointwise=True)
    sizes = [(6, 6), (7, 7), (8, 9), (11, 6)]
    for source, target in itertools.product(sizes, sizes):
        images = normal(1, 2, *source)
        first = spectral(trigonometric_resize(images, target))
        assert error(first, trigonometric_resize(spectral(images), target)) < EXACT


def test_corollary_1_needs_as_many_pixels_as_modes():
    spectral, images = layer(1, 1, 7), normal(1, 1, 9, 9)
    first = spectral(trigonometric_resize(images, 5))
    assert error(first, trigonometric_resize(spectral(images), 5)) < EXACT  # odd: only a low-pass
    even = spectral(trigonometric_resize(images, 4))
    assert error(even, trigonometric_resize(spectral(images), 4)) > 1e-3


@pytest.mark.parametrize("modes", [3, 5])
@pytest.mark.parametrize("size", [(7, 7), (8, 8), (6, 9)])
def test_kernel_is_interpolated_where_a_convolution_would_be_padded(modes, size):
    spectral, images = layer(2, 3, modes, bias=False), normal(2, 2, *size)
    theta = torch.fft.irfft2(torch.view_as_complex(spectral.weight.detach()), s=(modes, modes))
    share = modes**2 / (size[0] * size[1])  # |J_M| / |J_N|: interpolation keeps amplitudes
    expected = share * convolve(trigonometric_resize(theta, size), images)
    assert error(spectral(images), expected) < EXACT


def test_shifts_and_reflections():
    spectral, images = layer(2, 3, 4, bias=True), normal(2, 2, 8, 6)
    shifted = spectral(images.roll((3, 1), (-2, -1)))
    assert error(shifted, spectral(images).roll((3, 1), (-2, -1))) < EXACT
    mirrored = layer(2, 3, 4)
    mirrored.load_state_dict(spectral.state_dict())
    with torch.no_grad():  # the spectrum of the reflected kernel is the conjugate
        mirrored.weight[..., 1] *= -1
    assert error(mirrored(reflect(images, -1, -2)), reflect(spectral(images), -1, -2)) < EXACT


@pytest.mark.parametrize("size", [(9, 8), (6, 6), (5, 7)])
@pytest.mark.parametrize("stride", [2, (3, 1)])
def test_trigonometric_stride_is_resizing_of_the_output(size, stride):
    options = {"pointwise": True, "activation": "none"}
    spectral = layer(2, 3, 5, stride=stride, **options)
    plain = layer(2, 3, 5, **options)
    plain.load_state_dict(spectral.state_dict())
    images = normal(2, 2, *size)
    expected = TrigonometricResize(stride=stride)(plain(images))
    assert error(spectral(images), expected) < EXACT


def test_sampling_stride_keeps_pixels():
    spectral = layer(2, 3, 5, stride=2, striding="sampling", pointwise=True)
    plain = layer(2, 3, 5, pointwise=True)
    plain.load_state_dict(spectral.state_dict())
    images = normal(2, 2, 9, 8)
    assert error(spectral(images), plain(images)[..., ::2, ::2]) < EXACT


def test_groups_are_layers_side_by_side():
    spectral, images = layer(4, 6, (3, 4), groups=2, pointwise=True), normal(2, 4, 6, 6)
    assert spectral.pointwise is not None
    assert spectral.bias is not None
    parts = []
    for index in (0, 1):
        part = layer(2, 3, (3, 4), pointwise=True)
        assert part.pointwise is not None
        assert part.bias is not None
        outputs = slice(3 * index, 3 * index + 3)
        with torch.no_grad():
            part.weight.copy_(spectral.weight[outputs])
            part.bias.copy_(spectral.bias[outputs])
            part.pointwise.weight.copy_(spectral.pointwise.weight[outputs])
        parts.append(part(images[:, 2 * index : 2 * index + 2]))
    assert error(spectral(images), torch.cat(parts, dim=1)) < EXACT


def test_gelu_bias_and_pointwise_are_those_of_equation_2():
    spectral = layer(2, 3, 5, pointwise=True, activation="gelu")
    images = normal(2, 2, 7, 7)
    assert spectral.pointwise is not None
    assert spectral.bias is not None
    linear = spectral_reference(symmetric_weight(spectral), (5, 5), images)
    affine = linear + spectral.pointwise(images) + spectral.bias[:, None, None]
    assert error(spectral(images), torch.nn.functional.gelu(affine)) < EXACT


def symmetric_weight(spectral: SpectralConv2d) -> torch.Tensor:
    kernels = torch.fft.irfft2(torch.view_as_complex(spectral.weight.detach()), s=spectral.modes)
    return torch.view_as_real(torch.fft.rfft2(kernels))


def test_start_has_the_same_gain_for_every_number_of_modes():
    for modes in (5, 12, 28):
        weight = SpectralConv2d(16, 64, modes).weight.detach()
        assert abs(float(weight.square().sum(-1).mean()) * 3 * 16 - 1) < 0.05


def test_start_follows_the_generator():
    first, second, third = (SpectralConv2d(2, 3, 4, pointwise=True) for _ in range(3))
    for spectral, seed in ((first, 1), (second, 1), (third, 2)):
        spectral.reset_parameters(torch.Generator().manual_seed(seed))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
        assert not torch.equal(value, third.state_dict()[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modes": 0}, "Invalid modes: 0"),
        ({"modes": (3, 4, 5)}, r"Invalid modes: \(3, 4, 5\)"),
        ({"modes": 3, "stride": 0}, "Invalid stride: 0"),
        ({"modes": 3, "groups": 2}, "2 -> 3 in 2 groups"),
        ({"modes": 3, "activation": "relu"}, "Invalid activation: 'relu'"),
        ({"modes": 3, "striding": "pool"}, "Invalid striding: 'pool'"),
    ],
)
def test_errors_name_the_value(options, message):
    with pytest.raises(ValueError, match=message):
        SpectralConv2d(2, 3, **options)
