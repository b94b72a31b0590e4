"""Lemma 4 on full and half spectra, Proposition 2 of the paper (4.5 of the thesis), gradcheck."""

from __future__ import annotations

import math

import pytest
import torch

from fno import CircularConv2d, SpectralConv2d
from fno.multiplier import multiplier_of_kernel
from tests.fno.cases import EXACT, error, normal

SIZES = [(5, 5), (7, 5), (6, 6), (4, 5), (5, 4)]


def spatial_gradient(theta: torch.Tensor, images: torch.Tensor, cotangent: torch.Tensor):
    """Gradient of <cotangent, C(theta)(v)> for one channel, by sums over pixels."""
    parts = [
        [(cotangent * images.roll((j1, j2), (0, 1))).sum() for j2 in range(theta.shape[1])]
        for j1 in range(theta.shape[0])
    ]
    return torch.stack([torch.stack(row) for row in parts])


@pytest.mark.parametrize("size", [(5, 5), (7, 5), (3, 9)])
def test_lemma_4_on_the_full_spectrum_is_half_a_balanced_gradient(size):
    """T(gradient of theta) / |J_N| at every frequency alike."""
    images, cotangent = normal(*size), normal(*size)
    spectral = SpectralConv2d(1, 1, size, bias=False, balanced=True).double()
    values = spectral(images[None, None])[0, 0]
    (gradient,) = torch.autograd.grad((values * cotangent).sum(), spectral.weight)
    full = torch.fft.fft2(spatial_gradient(images, images, cotangent)) / math.prod(size)
    half = full[:, : size[1] // 2 + 1]
    assert error(torch.view_as_complex(gradient[0, 0]) / 2, half) < EXACT


@pytest.mark.parametrize("size", SIZES)
def test_lemma_4_on_half_a_spectrum_has_a_factor_of_two(size):
    """Stored once, 0 < k2 < N / 2 stands for two entries; DC and Nyquist columns for one.

    At the Nyquist frequency of an even axis the stored mode is twice the multiplier, so its
    gradient is half of that.
    """
    images, cotangent = normal(*size), normal(*size)
    spectral = SpectralConv2d(1, 1, size, bias=False).double()
    values = spectral(images[None, None])[0, 0]
    (gradient,) = torch.autograd.grad((values * cotangent).sum(), spectral.weight)
    full = torch.fft.fft2(spatial_gradient(images, images, cotangent)) / math.prod(size)
    half = full[:, : size[1] // 2 + 1].clone()
    half[:, 1 : (size[1] + 1) // 2] *= 2
    if size[0] % 2 == 0:
        half[size[0] // 2] /= 2
    if size[1] % 2 == 0:
        half[:, -1] /= 2
    assert error(torch.view_as_complex(gradient[0, 0]), half) < EXACT


# torch's forward mode compiles its decompositions with a deprecated function of its own.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
@pytest.mark.parametrize(("stride", "modes"), [(1, (5, 4)), (2, (3, 3))])
def test_derivative_of_a_layer_is_that_of_proposition_2(stride, modes):
    layer = SpectralConv2d(2, 3, modes, stride=stride, pointwise=True, activation="gelu").double()
    linear = SpectralConv2d(2, 3, modes, stride=stride, pointwise=True, bias=False).double()
    linear.load_state_dict(layer.state_dict(), strict=False)
    assert layer.bias is not None
    images, direction = normal(2, 2, 6, 7), normal(2, 2, 6, 7)
    value, derivative = torch.func.jvp(layer, (images,), (direction,))[:2]
    affine = linear(images) + layer.bias[:, None, None]
    phi = (-(affine**2) / 2).exp() / math.sqrt(2 * math.pi)
    slope = torch.special.ndtr(affine) + affine * phi
    assert error(value, layer(images)) < EXACT
    assert error(derivative, slope * linear(direction)) < EXACT


@pytest.mark.parametrize("modes", [(3, 4), (4, 3), (6, 6)])
@pytest.mark.parametrize("size", [(5, 4), (4, 6)])
def test_spectral_layer_passes_gradcheck(modes, size):
    layer = SpectralConv2d(2, 2, modes, groups=2, stride=2, pointwise=True).double()
    images = normal(1, 2, *size).requires_grad_()
    parameters = tuple(layer.parameters())
    names = [name for name, _ in layer.named_parameters()]

    def run(images, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (images,))

    assert torch.autograd.gradcheck(run, (images, *parameters))


def test_fft_of_kernels_passes_gradcheck():
    layer = CircularConv2d(1, 2, (3, 6), method="fft", dilation=(2, 1)).double()
    images = normal(1, 1, 4, 5).requires_grad_()

    def run(images, weight):
        return torch.func.functional_call(layer, {"weight": weight}, (images,))

    assert torch.autograd.gradcheck(run, (images, layer.weight))
    assert torch.autograd.gradcheck(lambda w: multiplier_of_kernel(w, (4, 3)), (layer.weight,))


def test_imaginary_part_of_the_mean_is_dead():
    layer = SpectralConv2d(1, 1, 4).double()
    layer(normal(1, 1, 6, 6)).square().sum().backward()
    gradient = layer.weight.grad
    assert gradient is not None
    assert gradient[0, 0, 0, 0, 1] == 0
    assert gradient[0, 0, 0, 0, 0] != 0
