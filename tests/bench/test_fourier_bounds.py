"""Lipschitz bounds of Fourier networks on the bench, against the matrices of their layers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import clip
from bregbench.data import Data, Normalise, Normalization, Split, compute_normalization
from bregbench.evaluators import Lipschitz
from bregbench.models import Mlp
from bregbench.papers.fno import CnnCircular, Fno, SpectralResnet18
from fno import CircularConv2d, SpectralConv2d, TrigonometricResize
from fno.pooling import AdaptiveAveragePool2d

SHAPE = (2, 6, 7)


def norm_of_matrix(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """Largest singular value of the dense matrix of a linear (or affine) layer."""
    origin = torch.zeros(1, *shape, dtype=torch.float64)
    units = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    with torch.no_grad():
        columns = (layer(units) - layer(origin)).flatten(1)
    return float(torch.linalg.matrix_norm(columns, 2))


@pytest.mark.parametrize(
    ("layer", "exact"),
    [
        (SpectralConv2d(2, 3, (4, 5), pointwise=True), True),
        (SpectralConv2d(2, 4, 9, groups=2), True),
        (SpectralConv2d(2, 3, 3, stride=2), False),
        (CircularConv2d(2, 3, (3, 4)), True),
        (CircularConv2d(2, 3, 11), True),
        (CircularConv2d(2, 3, 3, stride=2), False),
        (TrigonometricResize(9), True),
        (TrigonometricResize((4, 3)), True),
        (AdaptiveAveragePool2d((3, 7)), True),
        (AdaptiveAveragePool2d(4), False),
    ],
)
def test_bound_of_a_layer_is_the_norm_of_its_matrix(layer, exact):
    layer = layer.double()
    norm, bound = norm_of_matrix(layer, SHAPE), clip.upper_bound(layer, SHAPE)
    assert norm <= bound * (1 + 1e-12)
    if exact:
        assert bound == pytest.approx(norm, rel=1e-8)
    else:
        assert bound <= 4 * norm


def test_bound_of_a_linear_network_is_at_least_that_of_its_matrix():
    network = nn.Sequential(
        SpectralConv2d(2, 3, 3), TrigonometricResize(5), CircularConv2d(3, 2, 3), nn.Flatten()
    ).double()
    bounds = clip.layer_bounds(network, SHAPE)
    assert math.prod(bounds.values()) == pytest.approx(clip.upper_bound(network, SHAPE))
    assert norm_of_matrix(network, SHAPE) <= clip.upper_bound(network, SHAPE)


@pytest.mark.parametrize(
    "config",
    [
        Fno(modes=3, pointwise=True),
        CnnCircular(kernel_size=3),
        CnnCircular(kernel_size=12),
        SpectralResnet18(width=2),
        SpectralResnet18(width=2, modes=3),
    ],
)
def test_the_evaluator_bounds_fourier_networks(config):
    images = torch.randint(256, (12, 1, 8, 8), dtype=torch.uint8)
    split = Split(images, torch.arange(12) % 2)
    data = Data(split, split, split, 2, Normalization.identity(1), "made_up")
    network = config.build(input_shape=(1, 8, 8), classes=2).eval()
    found = Lipschitz(images=8).evaluate(network, data, None)  # type: ignore[arg-type]
    assert 0 < found["lipschitz/lower"] <= found["lipschitz/upper"]
    assert found["lipschitz/upper"] < math.inf


@pytest.mark.parametrize("config", [Mlp(hidden=[5]), CnnCircular(kernel_size=3), Fno(modes=3)])
def test_bounds_include_the_normalisation_of_the_inputs(config):
    def bounds(normalise):
        images = torch.randint(256, (12, 1, 8, 8), generator=torch.Generator().manual_seed(0))
        split = Split(images.to(torch.uint8), torch.arange(12) % 2)
        normalization = compute_normalization(split.images, normalise)
        data = Data(split, split, split, 2, normalization, "made_up")
        torch.manual_seed(0)
        network = config.build(input_shape=(1, 8, 8), classes=2, normalization=normalization)
        return Lipschitz(images=8).evaluate(network.eval(), data, None)  # type: ignore[arg-type]

    # (x - 0.5) / 0.5 doubles distances.
    ours, raw = bounds(Normalise.half), bounds(Normalise.none)
    assert ours["lipschitz/upper"] == pytest.approx(2 * raw["lipschitz/upper"])
    assert 0 < ours["lipschitz/lower"] <= ours["lipschitz/upper"]
