"""Small made data in the formats of the real ones, and the real ones where they lie beside us."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Arrays = dict[str, np.ndarray]


@pytest.fixture
def make_arrays() -> Callable[..., Arrays]:
    def make(
        shape: tuple[int, ...] = (32, 32, 3), *, train: int = 40, test: int = 20, classes: int = 10
    ) -> Arrays:
        random = np.random.default_rng(0)
        arrays = {}
        for name, count in (("train", train), ("test", test)):
            images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
            arrays[f"{name}_images"] = images
            arrays[f"{name}_labels"] = np.arange(count) % classes
        return arrays

    return make


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Arrays], str]:
    def save_archive(arrays: Arrays, name: str = "data.npz") -> str:
        path = tmp_path / name
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return str(path)

    return save_archive


@pytest.fixture
def write_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lays out torchvision's folder for one of its CIFAR classes, which then accepts the content."""
    import torchvision.datasets

    def write(arrays: Arrays, *, name: str, labels: str, extra: object = None) -> None:
        kind = getattr(torchvision.datasets, name)
        folder = tmp_path / kind.base_folder
        for part in ("train", "test"):
            images = arrays[f"{part}_images"].transpose(0, 3, 1, 2).reshape(-1, 3072)
            content = {"data": images, labels: arrays[f"{part}_labels"].tolist(), "extra": extra}
            listed = write_pickle(folder / f"{part}_file", content)
            monkeypatch.setattr(kind, f"{part}_list", [listed])
        file, digest = write_pickle(folder / "meta_file", {kind.meta["key"]: []})
        monkeypatch.setattr(kind, "meta", kind.meta | {"filename": file, "md5": digest})
        monkeypatch.setattr("bregbench.data.cifar._COUNTS", (40, 20))

    return write


def write_pickle(path: Path, content: dict[str, object]) -> list[str]:
    """Name and checksum of the written file, as torchvision lists them."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return [path.name, hashlib.md5(path.read_bytes()).hexdigest()]
