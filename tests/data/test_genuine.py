"""MNIST and Fashion-MNIST are what their names say, or the record says that nobody looked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bregbench.data import FashionMnist, Mnist
from bregbench.data import genuine as module
from bregbench.data.genuine import digest_content, strange_arrays
from bregbench.data.raw import LabelledImages, RawData
from bregbench.foundations.errors import BenchError
from bregbench.foundations.identity import config_hash, identity

CPU = torch.device("cpu")


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim])
    header += b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def made(seed: int) -> RawData:
    random = np.random.default_rng(seed)
    parts = [
        LabelledImages(
            random.integers(0, 256, (count, 28, 28), dtype=np.uint8), random.integers(0, 10, count)
        )
        for count in (40, 20)
    ]
    return RawData(train=parts[0], test=parts[1], classes=10)


def write(root: Path, raw: RawData, folder: str = "MNIST") -> None:
    for prefix, part in (("train", raw.train), ("t10k", raw.test)):
        place = root / folder / "raw"
        write_idx(place / f"{prefix}-images-idx3-ubyte", part.images)
        write_idx(place / f"{prefix}-labels-idx1-ubyte", part.labels)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, RawData]:
    """Made data that count as the genuine ones."""
    data = {"mnist": made(0), "fashion_mnist": made(1)}
    monkeypatch.setattr(module, "GENUINE", {n: digest_content(raw) for n, raw in data.items()})
    monkeypatch.setattr("bregbench.data.mnist._COUNTS", (40, 20))
    return data


def test_genuine_files_are_read_and_leave_no_mark(
    known: dict[str, RawData], tmp_path: Path
) -> None:
    write(tmp_path, known["mnist"])
    write(tmp_path, known["fashion_mnist"], "FashionMNIST")
    for kind in (Mnist, FashionMnist):
        config = kind(root=str(tmp_path), validation=10)
        assert len(config.build(CPU).train) == 30
        assert config.fingerprint() is None
        assert config.notes() == []
        assert config_hash(config) == config_hash(kind(validation=10))


def halved(raw: RawData) -> RawData:
    images = raw.train.images.copy()
    images[20:] = 0
    return RawData(LabelledImages(images, raw.train.labels), raw.test, 10)


def permuted(raw: RawData) -> RawData:
    return RawData(raw.train, LabelledImages(raw.test.images, (raw.test.labels + 1) % 10), 10)


def reordered(raw: RawData) -> RawData:
    return RawData(LabelledImages(raw.train.images[::-1], raw.train.labels[::-1]), raw.test, 10)


def reshaped(raw: RawData) -> RawData:
    images = raw.train.images.reshape(-1, 14, 56), raw.test.images.reshape(-1, 14, 56)
    return RawData(
        LabelledImages(images[0], raw.train.labels), LabelledImages(images[1], raw.test.labels), 10
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (halved, "the train images are not the genuine ones"),
        (permuted, "the test labels are not the genuine ones"),
        (reordered, "the train images, train labels are not"),
        (reshaped, "the train images, test images are not"),
    ],
)
def test_other_content_is_refused_or_marked(
    known: dict[str, RawData], tmp_path: Path, change, named: str
) -> None:
    write(tmp_path, change(known["mnist"]))
    with pytest.raises(BenchError, match=named) as caught:
        Mnist(root=str(tmp_path), validation=10).build(CPU)
    message = str(caught.value)
    assert "dataset=arrays" in message
    assert "data.verify=false" in message
    assert str(tmp_path) in message
    taken = Mnist(root=str(tmp_path), validation=10, verify=False)
    assert len(taken.build(CPU).train) == 30
    assert "data.verify=false" in taken.notes()[0]
    marked = identity(taken)
    assert marked["verify"] is False
    assert marked["fingerprint"] == taken.fingerprint() is not None
    write(tmp_path, made(7))
    assert config_hash(taken) != config_hash(Mnist(validation=10))
    assert identity(taken)["fingerprint"] != marked["fingerprint"]


def test_files_of_the_other_data_set_are_named(known: dict[str, RawData], tmp_path: Path) -> None:
    write(tmp_path, known["fashion_mnist"])
    with pytest.raises(BenchError, match="are those of dataset=fashion_mnist"):
        Mnist(root=str(tmp_path)).build(CPU)
    write(tmp_path, known["mnist"], "FashionMNIST")
    with pytest.raises(BenchError, match="are those of dataset=mnist"):
        FashionMnist(root=str(tmp_path)).build(CPU)


@pytest.mark.data
@pytest.mark.parametrize("kind", [Mnist, FashionMnist])
def test_the_real_files_are_the_genuine_ones(kind: type[Mnist], real_data: Path) -> None:
    raw = kind(root=str(real_data)).load()
    other = "mnist" if kind is FashionMnist else "fashion_mnist"
    assert strange_arrays(raw, kind.kind) is None
    assert strange_arrays(raw, other) is not None
    assert kind(root=str(real_data), verify=False).fingerprint() is None
