"""The published statistics of the real MNIST and Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bregbench.data import FashionMnist, Mnist

pytestmark = pytest.mark.data


@pytest.mark.parametrize(
    ("kind", "mean", "std"), [(Mnist, 0.13066, 0.30811), (FashionMnist, 0.28604, 0.35302)]
)
def test_statistics_of_all_training_images(
    kind: type[Mnist], mean: float, std: float, real_data: Path
) -> None:
    data = kind(root=str(real_data), validation=0).build(torch.device("cpu"))
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.normalization.mean.item() == pytest.approx(mean, abs=5e-6)
    assert data.normalization.std.item() == pytest.approx(std, abs=5e-6)


@pytest.mark.parametrize(("validation", "train"), [(5_000, 55_000), (3_000, 57_000)])
def test_standard_splits(validation: int, train: int, real_data: Path) -> None:
    data = Mnist(root=str(real_data), validation=validation).build(torch.device("cpu"))
    assert (len(data.train), len(data.validation)) == (train, validation)
    assert Mnist().validation == 5_000
