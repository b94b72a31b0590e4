"""Named data sets from small made files in their formats, whole, missing and damaged."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bregbench.data import Cifar10, Cifar100, DatasetConfig, FashionMnist, Mnist, Svhn
from bregbench.foundations.errors import BenchError

CPU = torch.device("cpu")
Arrays = dict[str, np.ndarray]
Make = Callable[..., Arrays]
Write = Callable[..., None]


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim])
    header += b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def idx_files(tmp_path: Path, make_arrays: Make, monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """Forty and twenty images below `tmp_path`, for both MNISTs."""
    arrays = make_arrays((28, 28))
    for folder in ("MNIST", "FashionMNIST"):
        for prefix, part in (("train", "train"), ("t10k", "test")):
            raw = tmp_path / folder / "raw"
            write_idx(raw / f"{prefix}-images-idx3-ubyte", arrays[f"{part}_images"])
            write_idx(raw / f"{prefix}-labels-idx1-ubyte", arrays[f"{part}_labels"])
    monkeypatch.setattr("bregbench.data.mnist._COUNTS", (40, 20))
    return arrays


@pytest.mark.parametrize("kind", [Mnist, FashionMnist])
def test_idx_files_are_read(kind: type[Mnist], idx_files: Arrays, tmp_path: Path) -> None:
    data = kind(root=str(tmp_path), validation=10, verify=False).build(CPU)
    assert data.input_shape == (1, 28, 28)
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 10, 20)
    assert np.array_equal(data.test.images[:, 0].numpy(), idx_files["test_images"])
    assert np.array_equal(data.test.labels.numpy(), idx_files["test_labels"])


@pytest.mark.usefixtures("idx_files")
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:3],
        lambda content: content[:8],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"\xff" * 16 + content[16:],
        lambda content: b"<html>not found</html>",
        lambda content: content[:3] + b"\x02" + content[4:],
    ],
)
def test_damaged_idx_files_are_refused_in_one_line(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "MNIST" / "raw" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BenchError, match=r"looked for MNIST/raw .* data\.download=true") as caught:
        Mnist(root=str(tmp_path), validation=10).build(CPU)
    assert "\n" not in str(caught.value)
    assert "download=True" not in str(caught.value)


@pytest.mark.usefixtures("idx_files")
def test_a_part_of_the_data_set_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_idx(raw / "train-images-idx3-ubyte", np.zeros((39, 28, 28)))
    write_idx(raw / "train-labels-idx1-ubyte", np.zeros(39))
    with pytest.raises(BenchError, match="found 39 training images where there must be 40"):
        Mnist(root=str(tmp_path)).build(CPU)


@pytest.mark.usefixtures("idx_files")
def test_a_label_out_of_range_is_refused(tmp_path: Path) -> None:
    labels = np.arange(40) % 11
    write_idx(tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte", labels)
    with pytest.raises(BenchError, match=r"train labels lie in 0\.\.10"):
        Mnist(root=str(tmp_path), validation=10).build(CPU)


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        (Mnist, "MNIST/raw"),
        (FashionMnist, "FashionMNIST/raw"),
        (Cifar10, "cifar-10-batches-py"),
        (Cifar100, "cifar-100-python"),
        (Svhn, "train_32x32.mat and test_32x32.mat"),
    ],
)
def test_missing_folders_are_named(kind: type[DatasetConfig], folder: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=f"dataset={kind.kind}: looked for {folder}") as caught:
        kind(root=str(tmp_path)).build(CPU)
    assert str(tmp_path) in str(caught.value)
    assert "data.download=true" in str(caught.value)
    assert ("data.path" in str(caught.value)) == (kind is Cifar10)


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fail)
    with pytest.raises(BenchError, match=r"no route to host.*check the network"):
        Mnist(root=str(tmp_path), download=True).build(CPU)


def test_nothing_is_downloaded_unasked(tmp_path: Path) -> None:
    with pytest.raises(BenchError):
        Cifar100(root=str(tmp_path)).build(CPU)
    assert list(tmp_path.iterdir()) == []


def test_cifar100_is_read(tmp_path: Path, make_arrays: Make, write_cifar: Write) -> None:
    arrays = make_arrays(classes=100)
    write_cifar(arrays, name="CIFAR100", labels="fine_labels")
    data = Cifar100(root=str(tmp_path), validation=10).build(CPU)
    assert data.classes == 100
    assert data.input_shape == (3, 32, 32)
    assert np.array_equal(data.test.images.permute(0, 2, 3, 1).numpy(), arrays["test_images"])
    assert np.array_equal(data.test.labels.numpy(), arrays["test_labels"])


class OldType:
    """Unpickles to a type as the original CIFAR files spell it, at which numpy >= 2.4 warns."""

    def __reduce__(self) -> tuple[object, ...]:
        return functools.partial(np.dtype, "u1", align=0), ()  # type: ignore[call-overload]


def test_old_spellings_in_the_files_do_not_reach_the_user(
    tmp_path: Path, make_arrays: Make, write_cifar: Write
) -> None:
    arrays = make_arrays()
    write_cifar(arrays, name="CIFAR10", labels="labels", extra=OldType())
    assert len(Cifar10(root=str(tmp_path), validation=10).build(CPU).train) == 30


def test_svhn_is_read(tmp_path: Path, make_arrays: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets
    from scipy.io import savemat

    arrays = make_arrays()
    listed = {}
    for part in ("train", "test"):
        path = tmp_path / f"{part}_32x32.mat"
        labels = arrays[f"{part}_labels"].copy()
        labels[labels == 0] = 10  # The files call the digit 0 ten.
        images = arrays[f"{part}_images"].transpose(1, 2, 3, 0)
        savemat(path, {"X": images, "y": labels[:, None].astype(np.uint8)})
        listed[part] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", listed)
    monkeypatch.setattr("bregbench.data.svhn._COUNTS", (40, 20))
    data = Svhn(root=str(tmp_path), validation=10).build(CPU)
    assert data.input_shape == (3, 32, 32)
    assert np.array_equal(data.test.images.permute(0, 2, 3, 1).numpy(), arrays["test_images"])
    assert np.array_equal(data.test.labels.numpy(), arrays["test_labels"])
    (tmp_path / "test_32x32.mat").write_bytes(b"cut")
    with pytest.raises(BenchError, match="not found or corrupted"):
        Svhn(root=str(tmp_path), validation=10).build(CPU)
