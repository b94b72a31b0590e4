"""CIFAR-10 is the same data set in whatever order and from whatever file it comes."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bregbench.data import Cifar10, Data
from bregbench.foundations.errors import BenchError
from bregbench.foundations.identity import config_hash

CPU = torch.device("cpu")
Arrays = dict[str, np.ndarray]
Make = Callable[..., Arrays]
Save = Callable[..., str]


def reordered(arrays: Arrays) -> Arrays:
    """The same images and labels in another order, with labels of another type."""
    random = np.random.default_rng(1)
    order = {part: random.permutation(len(arrays[f"{part}_labels"])) for part in ("train", "test")}
    shuffled = {name: array[order[name.split("_")[0]]] for name, array in arrays.items()}
    return shuffled | {"train_labels": shuffled["train_labels"].astype(np.uint8)}


def assert_same(left: Data, right: Data) -> None:
    for part in ("train", "validation", "test"):
        one, other = getattr(left, part), getattr(right, part)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    assert torch.equal(left.normalization.mean, right.normalization.mean)
    assert torch.equal(left.normalization.std, right.normalization.std)


def test_every_copy_gives_the_same_data(
    make_arrays: Make, save: Save, tmp_path: Path, write_cifar: Callable[..., None]
) -> None:
    arrays = make_arrays()
    one = Cifar10(path=save(arrays, "one.npz"), validation=10, verify=False)
    other = save(reordered(arrays), "two.npz")
    two = Cifar10(path=other, validation=10, verify=False)
    write_cifar(arrays, name="CIFAR10", labels="labels")
    folder = Cifar10(root=str(tmp_path), validation=10)
    assert_same(one.build(CPU), two.build(CPU))
    assert_same(one.build(CPU), folder.build(CPU))
    data = one.build(CPU)
    assert data.input_shape == (3, 32, 32)
    by_image = {
        image.tobytes(): label
        for image, label in zip(arrays["test_images"], arrays["test_labels"], strict=True)
    }
    for image, label in zip(data.test.images, data.test.labels, strict=True):
        assert by_image.pop(image.permute(1, 2, 0).numpy().tobytes()) == label
    assert not by_image


def test_the_genuine_content_has_no_fingerprint_and_anything_else_has(
    make_arrays: Make, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = make_arrays()
    one, two = (save(arrays, "one.npz"), save(reordered(arrays), "two.npz"))
    digest = Cifar10(path=one).fingerprint()
    assert digest is not None
    assert Cifar10(path=two).fingerprint() == digest
    assert Cifar10().fingerprint() is None
    for name in arrays:
        changed = {key: array.copy() for key, array in arrays.items()}
        changed[name].flat[0] = (int(changed[name].flat[0]) + 1) % 10
        assert Cifar10(path=save(changed)).fingerprint() not in (None, digest)
    assert config_hash(Cifar10(path=one)) != config_hash(Cifar10())
    monkeypatch.setattr("bregbench.data.cifar.GENUINE_CIFAR10", digest)
    assert Cifar10(path=two).fingerprint() is None
    assert config_hash(Cifar10(path=two)) == config_hash(Cifar10())


def test_a_label_that_moves_to_another_image_changes_the_fingerprint(
    make_arrays: Make, save: Save
) -> None:
    arrays = make_arrays()
    swapped = arrays | {"train_labels": np.roll(arrays["train_labels"], 1)}
    fingerprints = {Cifar10(path=save(a)).fingerprint() for a in (arrays, swapped)}
    assert len(fingerprints) == 2


def test_archives_of_other_data_are_refused(make_arrays: Make, save: Save) -> None:
    with pytest.raises(BenchError, match=r"not CIFAR-10.*use dataset=arrays"):
        Cifar10(path=save(make_arrays((28, 28)))).fingerprint()
    with pytest.raises(BenchError, match=r"0\.\.9"):
        Cifar10(path=save(make_arrays(classes=11))).build(CPU)
    with pytest.raises(BenchError, match=r"not the genuine ones.*dataset=arrays.*verify=false"):
        Cifar10(path=save(make_arrays()), validation=10).build(CPU)


@pytest.mark.slow
@pytest.mark.data
def test_the_unpacked_archive_is_the_genuine_data_set(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("PIL")
    target = tmp_path / "cifar10.npz"
    script = real_data / "unpack_cifar10.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(target)])
    runpy.run_path(str(script), run_name="__main__")
    config = Cifar10(path=str(target), validation=0)
    assert config.fingerprint() is None
    data = config.build(CPU)
    assert (len(data.train), len(data.test)) == (50_000, 10_000)
    assert data.train.labels.bincount().tolist() == [5_000] * 10
    mean = data.normalization.mean.flatten()
    torch.testing.assert_close(mean, torch.tensor([0.49140, 0.48216, 0.44653]), atol=1e-5, rtol=0)
