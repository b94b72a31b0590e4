"""How training images are divided, on the embedded digits and on whatever has the common fields."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from omegaconf import MISSING, OmegaConf

from bregbench.data import (
    Arrays,
    Augment,
    Cifar10,
    Cifar100,
    Data,
    DatasetConfig,
    Digits,
    FashionMnist,
    Mnist,
    Split,
    Svhn,
)
from bregbench.foundations.errors import BenchError
from bregbench.foundations.identity import identity

CPU = torch.device("cpu")
EVERY = [Arrays(), Cifar10(), Cifar100(), Digits(), FashionMnist(), Mnist(), Svhn()]


@pytest.fixture(scope="module")
def digits() -> Data:
    return Digits().build(CPU)


def rows(split: Split) -> list[bytes]:
    return [image.numpy().tobytes() for image in split.images]


def test_digits_have_fixed_stratified_splits(digits: Data) -> None:
    assert digits.input_shape == (1, 8, 8)
    assert digits.classes == 10
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1262, 180, 355)
    shares = torch.bincount(digits.test.labels).tolist()
    assert min(shares) >= 34
    assert max(shares) <= 37
    assert digits.train.images.dtype == torch.uint8
    assert digits.train.images.min() == 0
    assert digits.train.images.max() == 255


def test_digits_together_are_the_whole_set(digits: Data) -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    parts = (digits.train, digits.validation, digits.test)
    found = {
        (tuple((image.flatten().double() * 16 / 255).round().tolist()), int(label))
        for part in parts
        for image, label in zip(part.images, part.labels, strict=True)
    }
    wanted = {(tuple(image), int(label)) for image, label in zip(images, labels, strict=True)}
    assert found == wanted
    assert sum(map(len, parts)) == len(images)


def test_the_split_is_fixed_by_its_own_seed(digits: Data) -> None:
    again, other = Digits().build(CPU), Digits(split_seed=1).build(CPU)
    assert torch.equal(digits.train.images, again.train.images)
    assert torch.equal(digits.validation.labels, again.validation.labels)
    assert set(rows(digits.validation)) != set(rows(other.validation))
    assert torch.equal(digits.test.images, other.test.images)


def test_a_larger_validation_split_contains_a_smaller_one(digits: Data) -> None:
    larger = Digits(validation=300).build(CPU)
    assert len(larger.train) == 1442 - 300
    assert rows(larger.validation)[:180] == rows(digits.validation)


def test_the_limit_keeps_the_first_training_images_only(digits: Data) -> None:
    limited = Digits(limit=50).build(CPU)
    assert torch.equal(limited.train.images, digits.train.images[:50])
    assert torch.equal(limited.train.labels, digits.train.labels[:50])
    assert torch.equal(limited.validation.images, digits.validation.images)
    assert Digits(limit=1262).build(CPU).train.labels.shape == (1262,)


def test_validation_may_be_empty() -> None:
    data = Digits(validation=0).build(CPU)
    assert (len(data.train), len(data.validation)) == (1442, 0)
    assert data.validation.images.shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (Digits(limit=0), r"data\.limit=0 .* 1\.\.1262"),
        (Digits(limit=1263), r"data\.limit=1263"),
        (Digits(validation=-1), r"data\.validation=-1 .* 0\.\.1441"),
        (Digits(validation=1442), r"data\.validation=1442"),
        (Digits(path="x.npz"), r"data\.path=x\.npz has no meaning for dataset=digits"),
    ],
)
def test_values_out_of_range_are_refused(config: DatasetConfig, key: str) -> None:
    with pytest.raises(BenchError, match=key):
        config.build(CPU)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (Digits(limit=-1), "limit"),
        (Digits(validation=-1), "validation"),
        (Digits(split_seed=-1), "split_seed"),
    ],
)
def test_negative_numbers_are_refused_before_files_are_read(
    config: DatasetConfig, key: str
) -> None:
    with pytest.raises(BenchError, match=rf"data\.{key}=-1 is out of range"):
        config.check("data")


@dataclass
class Schema:
    data: DatasetConfig = MISSING


@pytest.mark.parametrize("config", EVERY)
def test_configs_round_trip_through_omegaconf(config: DatasetConfig) -> None:
    assert OmegaConf.to_object(OmegaConf.structured(config)) == config
    composed = OmegaConf.merge(
        OmegaConf.structured(Schema), {"data": type(config)}, {"data": {"augment": "none"}}
    )
    data = OmegaConf.to_object(composed).data  # type: ignore[union-attr]
    assert type(data) is type(config)
    assert data.augment is Augment.none


def test_colour_photographs_are_augmented_by_default() -> None:
    augmented = {config.kind for config in EVERY if config.augment is Augment.crop_flip}
    assert augmented == {"cifar10", "cifar100"}


def test_places_do_not_enter_the_identity() -> None:
    assert identity(Mnist(root="elsewhere", download=True)) == {"kind": "mnist"}
    assert identity(Mnist(validation=3000)) == {"kind": "mnist", "validation": 3000}
