"""Lipschitz bounds of Fourier networks on the bench."""

from __future__ import annotations

import math

import pytest
import torch

from bregbench.data import Data, Normalise, Normalization, Split, compute_normalization
from bregbench.evaluators import Lipschitz
from bregbench.models import Mlp
from bregbench.papers.fno import CnnCircular, Fno, SpectralResnet18


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
    torch.manual_seed(0)
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
