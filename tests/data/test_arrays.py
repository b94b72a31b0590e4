"""A user's own archive: what is accepted, what is refused and in which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bregbench.data import Arrays as ArraysConfig
from bregbench.data import Normalise
from bregbench.foundations.errors import BenchError

CPU = torch.device("cpu")
Arrays = dict[str, np.ndarray]
Make = Callable[..., Arrays]
Save = Callable[..., str]


@pytest.mark.parametrize(
    ("shape", "expected"), [((8, 9), (1, 8, 9)), ((8, 9, 1), (1, 8, 9)), ((8, 9, 3), (3, 8, 9))]
)
def test_grey_and_colour_images_are_read(
    make_arrays: Make, save: Save, shape: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    arrays = make_arrays(shape, classes=4)
    data = ArraysConfig(path=save(arrays), validation=10).build(CPU)
    assert data.input_shape == expected
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 10, 20)
    assert data.classes == 4
    assert data.name == "arrays"
    assert data.test.images.dtype == torch.uint8
    assert data.test.labels.dtype == torch.int64
    assert data.test.images.is_contiguous()
    images = arrays["test_images"].reshape(20, 8, 9, -1).transpose(0, 3, 1, 2)
    assert np.array_equal(data.test.images.numpy(), images)
    assert np.array_equal(data.test.labels.numpy(), arrays["test_labels"])


def test_a_tenth_is_carved_unless_the_archive_brings_validation_images(
    make_arrays: Make, save: Save
) -> None:
    arrays = make_arrays((4, 4))
    assert len(ArraysConfig(path=save(arrays)).build(CPU).validation) == 4
    arrays |= {
        "validation_images": arrays["test_images"][:7],
        "validation_labels": arrays["test_labels"][:7],
    }
    path = save(arrays)
    data = ArraysConfig(path=path).build(CPU)
    assert (len(data.train), len(data.validation)) == (40, 7)
    assert torch.equal(data.validation.images, data.test.images[:7])
    with pytest.raises(BenchError, match=r"data\.validation=3 .* leave data\.validation out"):
        ArraysConfig(path=path, validation=3).build(CPU)


def test_the_fingerprint_follows_the_content_and_not_the_file(
    make_arrays: Make, save: Save
) -> None:
    arrays = make_arrays((4, 4))
    first = ArraysConfig(path=save(arrays, "one.npz")).fingerprint()
    assert first is not None
    again = {name: np.asfortranarray(array) for name, array in reversed(arrays.items())}
    assert ArraysConfig(path=save(again, "two.npz")).fingerprint() == first
    assert ArraysConfig(path=save(arrays | {"note": np.zeros(1)})).fingerprint() == first
    for name in arrays:
        changed = {key: array.copy() for key, array in arrays.items()}
        changed[name].flat[3] = 7 - changed[name].flat[3] % 7
        assert ArraysConfig(path=save(changed)).fingerprint() != first


def without(name: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {key: array for key, array in arrays.items() if key != name}


def replaced(name: str, change: Callable[[np.ndarray], object]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {name: np.asarray(change(arrays[name]))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("test_labels"), "lacks test_labels"),
        (replaced("train_images", lambda a: a / 255), "train images have type float64"),
        (replaced("test_images", lambda a: a[:, 0, 0]), r"shape \(20,\)"),
        (replaced("test_images", lambda a: a[:0]), "n >= 1"),
        (replaced("train_labels", lambda a: a[1:]), r"labels have shape \(39,\)"),
        (replaced("train_labels", lambda a: a[:, None]), r"labels have shape \(40, 1\)"),
        (replaced("train_labels", lambda a: a.astype(float)), "type float64 and must be integers"),
        (replaced("train_labels", lambda a: a + 40), r"go up to 49 for 40 images"),
        (replaced("train_labels", lambda a: a - 1), r"labels lie in -1\.\.8"),
        (replaced("test_labels", lambda a: a + 1), r"test labels lie in 1\.\.10 .* 0\.\.9"),
        (replaced("test_images", lambda a: a[:, :3]), r"images are \(3, 4\)"),
        (replaced("train_labels", lambda a: a.astype(object)), "not a readable array archive"),
        (lambda a: a | {"validation_images": a["test_images"]}, "lacks validation_labels"),
    ],
)
def test_wrong_arrays_are_refused_in_one_line(
    make_arrays: Make, save: Save, change: Callable[[Arrays], Arrays], message: str
) -> None:
    path = save(change(make_arrays((4, 4))))
    with pytest.raises(BenchError, match=message) as caught:
        ArraysConfig(path=path).build(CPU)
    assert f"data.path={path}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classes_can_be_stated(make_arrays: Make, save: Save) -> None:
    path = save(make_arrays((4, 4), classes=5))
    assert ArraysConfig(path=path, classes=12).build(CPU).classes == 12
    with pytest.raises(BenchError, match=r"must lie in 0\.\.2"):
        ArraysConfig(path=path, classes=3).build(CPU)
    with pytest.raises(BenchError, match=r"data\.classes=0"):
        ArraysConfig(path=path, classes=0).build(CPU)


def test_files_that_are_no_archives_are_refused(
    make_arrays: Make, save: Save, tmp_path: Path
) -> None:
    with pytest.raises(BenchError, match=r"give data\.path=FILE\.npz"):
        ArraysConfig().build(CPU)
    with pytest.raises(BenchError, match="no such file"):
        ArraysConfig(path=str(tmp_path / "missing.npz")).fingerprint()
    with pytest.raises(BenchError, match="not a readable array archive"):
        ArraysConfig(path=str(tmp_path)).build(CPU)
    single = tmp_path / "single.npy"
    np.save(single, np.zeros(3))
    whole = Path(save(make_arrays((4, 4)))).read_bytes()
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("single.npy", "text.npz", "cut.npz"):
        with pytest.raises(BenchError, match="no array archive, or cut off"):
            ArraysConfig(path=str(tmp_path / name)).build(CPU)


def test_damage_inside_an_archive_is_refused(make_arrays: Make, save: Save) -> None:
    path = Path(save(make_arrays((4, 4))))
    damaged = bytearray(path.read_bytes())
    damaged[300] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(BenchError, match="not a readable array archive"):
        ArraysConfig(path=str(path)).build(CPU)


def test_statistics_come_from_the_training_images_that_are_used(
    make_arrays: Make, save: Save
) -> None:
    path = save(make_arrays((4, 4, 2)))
    for normalise in Normalise:
        config = ArraysConfig(path=path, validation=10, limit=6, normalise=normalise)
        data = config.build(CPU)
        used = data.train.images.double() / 255
        assert len(used) == 6
        expected = {
            Normalise.none: torch.zeros(2, 1, 1).double(),
            Normalise.channel: used.mean(dim=(0, 2, 3)).reshape(2, 1, 1),
            Normalise.pixel_mean: used.mean(dim=0),
            Normalise.half: torch.full((2, 1, 1), 0.5).double(),
        }[normalise]
        torch.testing.assert_close(data.normalization.mean.double(), expected, rtol=0, atol=1e-7)
