"""Cuts of converted kernels: what the published code leaves of one, and where that is the clean cut."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fno import (
    CircularConv2d,
    SpectralConv2d,
    spectral_network,
    to_spectral,
    trigonometric_resize,
)
from tests.fno.cases import EXACT, error, normal

SIDE = 8


def full_spectrum(layer: nn.Module, size: tuple[int, int]) -> torch.Tensor:
    """Factors of every frequency, from the answer to an impulse."""
    impulse = torch.zeros(1, 1, *size, dtype=torch.float64)
    impulse[..., 0, 0] = 1
    return torch.fft.fft2(layer(impulse).detach()[0])


def cut_by_hand(full: torch.Tensor, count: tuple[int, int]) -> torch.Tensor:
    """The published cut of factors on an even grid, frequency by frequency."""
    height, width = full.shape[-2:]
    rows, columns = count[0] // 2, count[1] // 2
    result = torch.zeros_like(full)
    for k1 in range(-rows, rows + 1):
        for k2 in range(-columns, columns + 1):
            # The half spectrum holds k2 >= 0; the rest follows from kernels that are real.
            sign = -1 if k2 < 0 else 1
            row = sign * k1
            if count[0] % 2 == 0 and row == rows:
                row = -rows
            value = full[..., row % height, (sign * k2) % width]
            if count[1] % 2 == 1 and abs(k2) == columns:
                value = value / 2
            result[..., k1 % height, k2 % width] = value if sign > 0 else value.conj()
    # Column 0 holds pairs k and -k, of which a real kernel needs one to be the other's conjugate.
    mirrored = result[..., :, 0].roll(-1, -1).flip(-1).conj()
    result[..., :, 0] = (result[..., :, 0] + mirrored) / 2
    return result


@pytest.mark.parametrize("count", [(3, 3), (5, 5), (4, 4), (6, 6), (4, 5), (7, 2), (6, 7)])
def test_published_cuts_halve_outer_columns_and_take_one_row_for_two(count):
    conv = CircularConv2d(1, 2, 6, bias=False).double()
    layer = to_spectral(conv, SIDE, modes=count, truncation="published")
    expected = cut_by_hand(full_spectrum(conv, (SIDE, SIDE)), count)
    found = full_spectrum(layer, (SIDE, SIDE))
    assert error(torch.view_as_real(found), torch.view_as_real(expected)) < EXACT
    clean = full_spectrum(to_spectral(conv, SIDE, modes=count), (SIDE, SIDE))
    assert error(torch.view_as_real(found), torch.view_as_real(clean)) > 0.01


def test_each_axis_has_its_own_fault():
    conv = CircularConv2d(2, 4, 5, dilation=2, groups=2, stride=2).double()
    clean = to_spectral(conv, SIDE, modes=(SIDE, 3))
    images = normal(2, 2, SIDE, SIDE)
    published = to_spectral(conv, SIDE, modes=(SIDE, 3), truncation="published")
    assert (published.groups, published.stride, published.striding) == (2, (2, 2), "sampling")
    with torch.no_grad():
        clean.weight[..., -1, :] /= 2
    assert error(published(images), clean(images)) < EXACT
    # An odd number of rows is cut as it should be.
    pair = [to_spectral(conv, SIDE, modes=(3, SIDE), truncation=t) for t in ("exact", "published")]  # type: ignore[arg-type]
    assert error(pair[0](images), pair[1](images)) < EXACT


@pytest.mark.parametrize(("size", "count"), [((8, 8), (8, 8)), ((8, 7), (9, 12)), ((9, 7), (5, 3))])
def test_cuts_are_the_same_where_nothing_is_misread(size, count):
    conv = CircularConv2d(1, 2, 4).double()
    images = normal(2, 1, *size)
    exact, published = (
        to_spectral(conv, size, modes=count, truncation=truncation)
        for truncation in ("exact", "published")
    )
    assert published.modes == exact.modes
    assert error(published.weight, exact.weight) < EXACT
    assert error(published(images), exact(images)) < EXACT


@pytest.mark.parametrize("size", [(5, 6), (12, 9)])
def test_layers_after_a_published_cut_commute_with_resizing(size):
    conv = CircularConv2d(1, 2, 3).double()
    layer = to_spectral(conv, SIDE, modes=4, truncation="published")
    assert layer.modes == (5, 5)
    images = normal(2, 1, SIDE, SIDE)
    resized = layer(trigonometric_resize(images, size))
    assert error(resized, trigonometric_resize(layer(images), size)) < EXACT


def test_whole_networks_take_the_cut():
    network = nn.Sequential(CircularConv2d(1, 2, 3), nn.ReLU(), CircularConv2d(2, 2, 3)).double()
    images = normal(2, 1, SIDE, SIDE)
    cut = spectral_network(network, images, modes=3, truncation="published")
    assert isinstance(cut, nn.Sequential)
    for place in (0, 2):
        by_hand = to_spectral(network[place], SIDE, modes=3, truncation="published")  # type: ignore[arg-type]
        layer = cut[place]
        assert isinstance(layer, SpectralConv2d)
        assert torch.equal(layer.weight, by_hand.weight)
    # More modes than pixels leave the network as it is.
    whole = spectral_network(network, images, modes=20, truncation="published")
    assert error(whole(images), network(images)) < EXACT


@pytest.mark.parametrize(
    ("size", "modes", "truncation", "message"),
    [
        (8, 3, "rounded", "Invalid truncation: 'rounded'"),
        (8, 1, "published", "truncation to 1 columns of 8 is not known"),
        (9, 4, "published", "truncation to 4 columns of 9 is not known"),
    ],
)
def test_cuts_that_nothing_is_known_of_are_refused(size, modes, truncation, message):
    conv = CircularConv2d(1, 1, 3)
    with pytest.raises(ValueError, match=message):
        to_spectral(conv, size, modes=modes, truncation=truncation)
    network, example = nn.Sequential(conv), torch.zeros(1, 1, size, size)
    with pytest.raises(ValueError, match=f"module '0': .*{message}"):
        spectral_network(network, example, modes=modes, truncation=truncation)
