"""Eqs. 4.3-4.5: masks of entries and groups, and the variances that the factor 1 / sqrt(r) keeps.

Means over seeds are compared with the exact expectation at 4.5 standard errors (a chance of 7e-6
per comparison for a new seed; the seeds are fixed).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bregman import he_normal, sparsify

SIGMAS = 4.5
GROUPS = [("kernel", (2, 3)), ("filter", (1, 2, 3)), ("row", (1, 2, 3))]
OPTIONS = pytest.mark.parametrize("exact", [True, False], ids=["exact", "bernoulli"])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def survivors(by: str, dims: tuple[int, ...], density: float, exact: bool, seeds: int) -> Tensor:
    """One row of 0 and 1 per seed: which groups of a Conv2d(6, 8, 3), or which rows, were kept."""
    rows = []
    layer = nn.Conv2d(6, 8, 3)
    for seed in range(seeds):
        nn.init.ones_(layer.weight)
        sparsify(layer, density, by=by, exact=exact, generator=generator(seed))
        kept = (layer.weight != 0).any(dim=dims)
        assert torch.equal(kept, (layer.weight != 0).all(dim=dims))  # groups are whole: eq. 4.4
        rows.append(kept.flatten())
    return torch.stack(rows).double()


def assert_mean(samples: Tensor, expected: float, *, largest_error: float) -> None:
    """The mean of independent samples is within SIGMAS standard errors, which are small enough."""
    error = (samples.std() / math.sqrt(len(samples))).item()
    assert error < largest_error
    assert abs(samples.mean().item() - expected) < SIGMAS * error


@pytest.mark.parametrize(("by", "dims"), GROUPS)
@pytest.mark.parametrize("density", [0.25, 0.5])
def test_number_of_groups(by, dims, density):
    """Eq. 4.4: exactly r of the groups, or a binomial number with that mean and its variance."""
    kept = survivors(by, dims, density, exact=True, seeds=20)
    assert (kept.mean(1) == density).all()

    seeds = 500
    kept = survivors(by, dims, density, exact=False, seeds=seeds)
    counts, size = kept.sum(1), kept.shape[1]
    assert_mean(counts, density * size, largest_error=0.02 * size)
    variance = size * density * (1 - density)  # of independent masks
    assert counts.var().item() == pytest.approx(variance, rel=SIGMAS * math.sqrt(2 / seeds))


@OPTIONS
@pytest.mark.parametrize(("by", "dims"), GROUPS)
def test_every_group_has_the_same_chance(by, dims, exact):
    """Of all groups alike: the chi-squared statistic of the survival counts is as if by chance."""
    seeds, density = 400, 0.25
    kept = survivors(by, dims, density, exact, seeds)
    size = kept.shape[1]
    variance = seeds * density * (1 - density)
    statistic = ((kept.sum(0) - seeds * density).square() / variance).sum().item()
    # Counts with a fixed sum correlate: one degree of freedom less, spread over all groups.
    degrees = size - 1 if exact else size
    statistic *= degrees / size
    assert abs(statistic - degrees) < SIGMAS * math.sqrt(2 * degrees)


@pytest.mark.parametrize("by", ["entry", "kernel", "filter", "row"])
@OPTIONS
def test_variance_of_the_survivors(by, exact):
    """Eqs. 4.3 and 4.5: what stays is the dense draw over sqrt(r), of variance alpha / r."""
    layer, density = nn.Conv2d(20, 200, 3), 0.25
    he_normal(layer, generator=generator(1))
    dense = layer.weight.detach().clone()
    sparsify(layer, density, by=by, exact=exact, generator=generator(2))
    stays = layer.weight.detach() != 0
    left = layer.weight.detach()[stays]
    torch.testing.assert_close(left, dense[stays] / math.sqrt(density))
    # The variance of n normal numbers has the relative standard error sqrt(2 / n).
    accuracy = SIGMAS * math.sqrt(2 / len(left))
    assert left.var().item() == pytest.approx(2 / 180 / density, rel=accuracy)


@pytest.mark.parametrize("by", ["entry", "kernel", "filter", "row"])
def test_exact_masks_keep_the_second_moment_of_every_draw(by):
    """With weights of equal size the sum of squares is kept by each draw, not only on average.

    That needs a whole number of groups: otherwise the factor stays 1 / sqrt(density), and the sum
    of squares is too large or small by the kept fraction over the density.
    """
    layer = nn.Conv2d(6, 8, 3)
    counts = {"entry": layer.weight.numel(), "kernel": 48, "filter": 8, "row": 8}
    for density in (0.125, 0.5, 0.2, 0.01):
        with torch.no_grad():
            layer.weight.copy_(torch.randn(layer.weight.shape).sign())
        sparsify(layer, density, by=by, generator=generator(3))
        kept = max(1, round(density * counts[by])) / counts[by]
        moment = layer.weight.square().mean().item()
        assert moment == pytest.approx(kept / density, rel=1e-6)
        if (density * counts[by]).is_integer():
            assert moment == pytest.approx(1.0, rel=1e-6)


def mean_squares(layer: nn.Module, x: Tensor, seeds: int, prepare: Callable[..., None]) -> Tensor:
    """Mean squared output of a layer (or network) for each of many initialisations."""
    squares = []
    for seed in range(seeds):
        prepare(layer, generator(seed))
        squares.append(layer(x).detach().double().square().mean())
    return torch.stack(squares)


def sparse_he(by: str, density: float, exact: bool) -> Callable[..., None]:
    def prepare(model: nn.Module, source: torch.Generator) -> None:
        he_normal(model, generator=source)
        sparsify(model, density, by=by, exact=exact, generator=source)

    return prepare


@OPTIONS
@pytest.mark.parametrize(
    ("by", "layer", "shape"),
    [
        ("entry", nn.Linear(30, 40, bias=False), (1, 30)),
        ("row", nn.Linear(30, 40, bias=False), (1, 30)),
        ("entry", nn.Conv2d(6, 8, 3, bias=False), (1, 6, 5, 5)),
        ("kernel", nn.Conv2d(6, 8, 3, bias=False), (1, 6, 5, 5)),
        ("filter", nn.Conv2d(6, 8, 3, bias=False), (1, 6, 5, 5)),
        ("filter", nn.ConvTranspose2d(4, 8, 3, stride=3, bias=False), (1, 4, 3, 3)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_variance_of_the_output(by, layer, shape, exact):
    """The purpose of 4.3 and 4.5: outputs for a fixed x have the variance of the dense layer."""
    x = torch.randn(shape)
    prepare = sparse_he(by, 0.25, exact)
    ones = copy.deepcopy(layer)
    with torch.no_grad():  # the sum of x^2 over what an output sees, from a layer of ones on x^2
        ones.weight.fill_(1.0)
        seen = ones(x.square()).double().mean().item()
        fan_in = ones(torch.ones_like(x)).double().mean().item()  # counts the products
    dense = 2 / fan_in * seen
    assert_mean(mean_squares(layer, x, 400, prepare) / dense, 1.0, largest_error=0.04)


@OPTIONS
@pytest.mark.parametrize("by", ["entry", "row"])
def test_sparse_start_keeps_variances_through_relu_layers(by, exact):
    """He's argument, which section 4.1 adapts: no layer of a sparse ReLU network shrinks the signal.

    A sparse, rescaled weight has the second moment 2 / fan_in and a symmetric law, and then half of
    the mean square of a pre-activation survives the ReLU, exactly, at every depth.
    """
    width, depth = 80, 4
    layers = [nn.Linear(width, width, bias=False) for _ in range(depth)]
    network = nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU())))
    x = torch.randn(1, width)
    squares = mean_squares(network, x, 400, sparse_he(by, 0.3, exact))
    assert_mean(squares / x.double().square().mean(), 1.0, largest_error=0.07)
