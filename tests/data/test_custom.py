"""A user's own data from a function: the digits in any form are the digits."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from bregbench.data import Augment, Custom, Digits, Normalise
from bregbench.data.normalization import compute_normalization
from bregbench.foundations.errors import BenchError
from bregbench.foundations.identity import config_hash
from bregbench.runs.train import run_directory, train

CPU = torch.device("cpu")
HERE = __name__


class Samples(Dataset):
    """Some uint8 grey images, as torchvision gives them without a transform: arrays and numbers."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index], int(self.labels[index])


class Four(NamedTuple):
    train_images: Any
    train_labels: Any
    test_images: Any
    test_labels: Any


@dataclass
class Parts:
    train: Any
    test: Any
    validation: Any = None


def arrays() -> Four:
    raw = Digits().load()
    return Four(raw.train.images, raw.train.labels, raw.test.images, raw.test.labels)


def tensors() -> tuple[Any, Any]:
    four = [torch.from_numpy(np.asarray(array)) for array in arrays()]
    return (four[0], four[1]), (four[2], four[3].to(torch.int32))


def in_form(form: str) -> Any:
    """The digits in one of the forms that a user may give."""
    four = arrays()
    train, test = tensors()
    return {
        "named tuple": four,
        "mapping of arrays": dict(four._asdict()),
        "pairs of tensors": (train, test),
        "mapping of pairs": {"train": train, "test": test},
        "dataclass": Parts(train, test),
        "tensor data sets": (TensorDataset(*train), TensorDataset(*test)),
        "samples": [Samples(*four[:2]), Samples(*four[2:])],
        "channels last": four._replace(
            train_images=four.train_images[..., None], test_images=four.test_images[..., None]
        ),
    }[form]


FORMS = (
    *("named tuple", "mapping of arrays", "pairs of tensors", "mapping of pairs", "dataclass"),
    *("tensor data sets", "samples", "channels last"),
)


def floats(scale: float = 1.0, shift: float = 0.0) -> Any:
    (images, labels), (others, more) = tensors()
    return (images / 255 * scale + shift, labels), (others / 255 * scale + shift, more)


def vectors() -> Any:
    (images, labels), (others, more) = floats()
    return (images.flatten(1), labels), (others.flatten(1), more)


def numbers() -> Any:
    (images, labels), (others, more) = floats()
    return (images, labels.float()), (others, more.float())


def drawn() -> Any:
    """Random data, from all three global generators."""
    images = torch.rand(20, 1, 4, 4) + float(np.random.rand()) + random.random()
    return (images, torch.arange(20) % 2), (images[:4], torch.arange(4) % 2)


def any_data(value: Any) -> Any:
    return _ANY[value]


_ANY: dict[str, Any] = {}


def config_of(name: str, **options: Any) -> Custom:
    return Custom(factory=f"{HERE}:{name}", **options)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_digits_is_the_digits(form):
    expected = Digits().build(CPU)
    data = config_of("in_form", arguments={"form": form}, validation=180).build(CPU)
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(data, name), getattr(expected, name)
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)
    assert data.classes == 10
    assert torch.equal(data.normalization.mean, expected.normalization.mean)


def test_the_content_names_the_data_and_not_the_function():
    prints = {config_of("in_form", arguments={"form": form}).fingerprint() for form in FORMS}
    assert len(prints) == 1
    assert config_of("floats").fingerprint() not in prints


def test_random_data_are_the_same_in_every_process(monkeypatch):
    first = config_of("drawn").fingerprint()
    before = torch.get_rng_state(), random.getstate()
    monkeypatch.setattr("bregbench.data.custom._last", {})
    torch.rand(3)
    random.random()
    assert config_of("drawn").fingerprint() == first
    assert not torch.equal(torch.get_rng_state(), before[0])


@pytest.mark.parametrize("kind", list(Normalise))
def test_floats_are_normalised_like_bytes(kind):
    images = Digits().build(CPU).train.images
    ours, theirs = (compute_normalization(i, kind) for i in (images / 255, images))
    torch.testing.assert_close(ours.mean, theirs.mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.std, theirs.std, rtol=1e-5, atol=1e-6)


def test_floats_keep_their_values_and_are_standardised():
    data = config_of("floats", arguments={"scale": 30.0, "shift": -7.0}).build(CPU)
    assert data.train.images.dtype == torch.float32
    assert data.train.images.min() == -7
    normalised = (data.train.images.double() - data.normalization.mean) / data.normalization.std
    assert abs(float(normalised.mean())) < 1e-5
    assert abs(float(normalised.std(correction=0)) - 1) < 1e-5
    (note,) = config_of("floats", arguments={"scale": 30.0, "shift": -7.0}).notes()
    assert "inputs lie in -7..23" in note
    assert config_of("floats").notes() == []


def test_vectors_have_one_channel_a_feature():
    data = config_of("vectors").build(CPU)
    assert data.input_shape == (64, 1, 1)
    assert data.normalization.mean.shape == (64, 1, 1)
    with pytest.raises(BenchError, match=r"data\.augment=crop_flip crops .* are 1 x 1: leave"):
        config_of("vectors", augment=Augment.crop_flip).build(CPU)


def test_images_that_come_with_their_own_validation_images():
    train_part, test_part = tensors()
    _ANY["three"] = Parts(train_part, test_part, test_part)
    data = config_of("any_data", arguments={"value": "three"}).build(CPU)
    assert torch.equal(data.validation.images, data.test.images)
    with pytest.raises(BenchError, match=r"data\.validation=3 and the data bring 355 validation"):
        config_of("any_data", arguments={"value": "three"}, validation=3).build(CPU)


@pytest.mark.parametrize("augment", ["none", "crop_flip", "resized_crop_flip"])
@pytest.mark.parametrize("name", ["floats", "tensors"])
def test_runs_train_on_them(make_config, name, augment):
    config = make_config(
        "dataset=custom",
        f"data.factory={HERE}:{name}",
        f"data.augment={augment}",
        "trainer.epochs=2",
        "method=sgd",
    )
    summary = train(config)
    assert augment != "none" or summary["final"]["trained"]["last"]["test/accuracy"] > 0.3
    assert summary["fingerprints"]["data"] == config.data.fingerprint()
    assert set(summary["sources"]) == {"data"}
    assert run_directory(config).complete


def test_floats_of_bytes_train_to_the_same_network(make_config):
    final = [
        train(make_config("dataset=custom", f"data.factory={HERE}:{name}", "method=sgd"))["final"]
        for name in ("floats", "tensors")
    ]
    ours, theirs = (f["trained"]["last"]["test/accuracy"] for f in final)
    assert ours == pytest.approx(theirs, abs=0.02)


def test_float_targets_are_a_regression(make_config):
    overrides = ("dataset=custom", f"data.factory={HERE}:numbers", "method=sgd", "method.lr=0.01")
    with pytest.raises(BenchError, match=r"the data set has floats: choose task=regression"):
        train(make_config(*overrides))
    found = train(make_config(*overrides, "task=regression"))["final"]["trained"]["last"]
    assert found["test/fit"] > -8.3, "better than the best constant"


def test_identity_holds_factory_arguments_and_content():
    _ANY["x"], _ANY["y"] = tensors(), floats()
    names = ("x", "y")
    hashes = {config_hash(config_of("any_data", arguments={"value": name})) for name in names}
    hashes |= {config_hash(config_of(name)) for name in ("tensors", "floats")}
    assert len(hashes) == 4


def changed(part: int, kind: int, change: Any) -> Any:
    parts = [list(pair) for pair in tensors()]
    parts[part][kind] = change(parts[part][kind])
    return tuple(tuple(pair) for pair in parts)


class Endless:
    def __iter__(self) -> Any:
        return iter(())


WRONG = {
    "number": (lambda: 3, r"is int and must be a pair \(train, test\)"),
    "one pair": (lambda: tensors()[0], r"is tuple of Tensor, Tensor and must be"),
    "no test": (lambda: {"train": tensors()[0]}, r"has no test: it has train; give"),
    "keras": (lambda: {"x_train": 1}, r"has no train and no test: it has x_train; give"),
    "stream": (lambda: (Endless(), Endless()), r"train is Endless: give a Dataset with a length"),
    "text": (lambda: ("a", "b"), r"train: sample 0 is no pair"),
    "single": (lambda: ([1, 2, 3], [1, 2, 3]), r"sample 0 is no pair \(input, label\)"),
    "shapes": (
        lambda: ([(np.zeros((2, 2)), 0), (np.zeros((2, 3)), 0)], [1, 1, 1]),
        r"train: sample 1 has shape \(2, 3\) and sample 0 has \(2, 2\): .* resizes",
    ),
    "integers": (lambda: changed(0, 0, torch.Tensor.int), r"train inputs have type int32 .*uint8"),
    "five axes": (
        lambda: changed(0, 0, lambda x: x[None, None]),
        r"shape \(1, 1, .*: tensors have",
    ),
    "not a number": (
        lambda: changed(1, 0, lambda x: x / 0),
        r"test inputs have values that are not",
    ),
    "types": (
        lambda: changed(1, 0, lambda x: x / 255),
        r"test inputs are float32 .* uint8 .*one type",
    ),
    "sizes": (lambda: changed(1, 0, lambda x: x[:, 1:]), r"test inputs are uint8 \(1, 7, 8\)"),
    "counts": (lambda: changed(0, 1, lambda x: x[1:]), r"has 1442 inputs and 1441 labels"),
    "one hot": (
        lambda: changed(0, 1, lambda x: torch.eye(10)[x]),
        r"train labels have type float32 and shape \(1442, 10\): give whole numbers from 0",
    ),
    "from one": (
        lambda: changed(1, 1, lambda x: x + 1),
        r"test labels lie in 1\.\.10 .* 0\.\.9: num",
    ),
    "channels first": (
        lambda: changed(0, 0, lambda x: x[:, None].expand(-1, 3, 8, 8).numpy()),
        r"channels seem to come first: give torch\.from_numpy",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_data_is_refused_in_one_line(name):
    make, message = WRONG[name]
    _ANY[name] = make()
    with pytest.raises(BenchError, match=message) as caught:
        config_of("any_data", arguments={"value": name}).build(CPU)
    assert str(caught.value).startswith(f"data.factory={HERE}:any_data")
    assert "\n" not in str(caught.value)
