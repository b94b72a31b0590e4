"""Trigonometric resizing: the polynomial itself, identities, symmetries, energies."""

from __future__ import annotations

import itertools

import pytest
import torch

from fno import TrigonometricResize, trigonometric_resize
from tests.fno.cases import EXACT, SIZES, error, evaluate, normal, reflect

PAIRS = list(itertools.product(SIZES, SIZES))


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_polynomial_is_evaluated_for_all_parities(source, target):
    images = normal(2, *source)
    assert error(trigonometric_resize(images, target), evaluate(images, target)) < EXACT


@pytest.mark.parametrize("between", [14, 15, 27, 28])
def test_going_up_and_back_is_the_identity(between):
    images = normal(3, 14, 13)
    assert error(trigonometric_resize(trigonometric_resize(images, between), (14, 13)), images) < (
        EXACT
    )


def test_size_28_from_14_keeps_the_old_pixels():
    images = normal(2, 14, 14)
    assert error(trigonometric_resize(images, 28)[..., ::2, ::2], images) < EXACT


def test_same_size_changes_nothing():
    images = normal(2, 28, 28)
    assert torch.equal(trigonometric_resize(images, 28), images)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_symmetries_and_mean_are_kept(source, target):
    images = normal(2, *source)
    resized = trigonometric_resize(images, target)
    transposed = trigonometric_resize(images.mT, target[::-1])
    assert error(transposed, resized.mT) < EXACT
    for axes in ((-1,), (-2,), (-1, -2)):
        reflected = trigonometric_resize(reflect(images, *axes), target)
        assert error(reflected, reflect(resized, *axes)) < EXACT
    assert error(resized.mean((-2, -1)), images.mean((-2, -1))) < EXACT


@pytest.mark.parametrize(("source", "target", "shift", "moved"), [(14, 28, 1, 2), (28, 14, 2, 1)])
def test_shifts_by_whole_pixels_commute(source, target, shift, moved):
    images = normal(source, source)
    shifted = trigonometric_resize(images.roll((shift, -shift), (0, 1)), target)
    expected = trigonometric_resize(images, target).roll((moved, -moved), (0, 1))
    assert error(shifted, expected) < EXACT


@pytest.mark.parametrize("target", [13, 14, 28, 29])
def test_energy_of_an_odd_source_is_kept(target):
    images = normal(13, 11)
    resized = trigonometric_resize(images, target)
    assert error(resized.square().mean(), images.square().mean()) < EXACT


@pytest.mark.parametrize("target", [15, 16, 28])
def test_an_even_source_loses_half_its_nyquist_energy(target):
    images = normal(14, 14)
    energy = torch.fft.fft2(images, norm="forward").abs().square()
    energy[7] /= 2
    energy[:, 7] /= 2
    resized = trigonometric_resize(images, target)
    assert error(resized.square().mean(), energy.sum()) < EXACT
    assert resized.square().mean() < 0.99 * images.square().mean()


def test_derivative_is_exact():
    images = normal(2, 6, 5).requires_grad_()
    for size in ((4, 4), (9, 8), (6, 3)):
        assert torch.autograd.gradcheck(lambda v, s=size: trigonometric_resize(v, s), (images,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_numbers_keep_their_type(dtype):
    images = normal(2, 8, 8).to(dtype)
    resized = trigonometric_resize(images, 12)
    assert resized.dtype == dtype
    expected = trigonometric_resize(images.double(), 12)
    assert error(resized.double(), expected) < 8 * torch.finfo(dtype).eps


def test_module_takes_a_size_or_a_stride():
    images = normal(2, 3, 9, 8)
    assert error(TrigonometricResize(5)(images), trigonometric_resize(images, 5)) == 0
    halved = TrigonometricResize(stride=2)(images)
    assert error(halved, trigonometric_resize(images, (5, 4))) == 0
    assert TrigonometricResize(stride=(3, 1))(images).shape == (2, 3, 3, 8)


def test_errors_name_the_value():
    images = normal(4, 4)
    with pytest.raises(ValueError, match="Invalid size: 0"):
        trigonometric_resize(images, 0)
    with pytest.raises(ValueError, match=r"Invalid size: \(2, 3, 4\)"):
        trigonometric_resize(images, (2, 3, 4))
    with pytest.raises(ValueError, match="height and width"):
        trigonometric_resize(images[0], 2)
    with pytest.raises(TypeError, match="complex64"):
        trigonometric_resize(torch.zeros(4, 4, dtype=torch.complex64), 2)
    with pytest.raises(ValueError, match="size or stride"):
        TrigonometricResize()
    with pytest.raises(ValueError, match="Invalid stride: -1"):
        TrigonometricResize(stride=-1)
