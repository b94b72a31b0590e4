"""A user's own archive: what is accepted, what is refused and in which words."""

from __future__ import annotations

import pickle
import zipfile
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
        (
            without("train_images"),
            r"it has train_labels \(int64, shape \(40,\)\), test_images \(uint8",
        ),
        (without("test_images"), r"needed are train_images, .* floats in \[0, 1\] .*numpy\.savez"),
        (replaced("train_images", lambda a: a / 1.0), r"float64 and lie in 0\.\.255, .* in 0\.\.1"),
        (replaced("test_images", lambda a: a / 127.5 - 1), r"test images .* lie in -.* in 0\.\.1"),
        (replaced("test_images", lambda a: a / 255 * np.nan), r"lie in nan\.\.nan"),
        (
            replaced("test_images", lambda a: a / a.max() * np.float32(1.001)),
            r"lie in .*\.\.1\.001, and floats",
        ),
        (replaced("test_images", lambda a: a / 255 + 0j), "test images have type complex128"),
        (replaced("train_images", lambda a: a.astype(np.int64)), "train images have type int64"),
        (replaced("train_images", lambda a: a > 9), "train images have type bool"),
        (replaced("train_images", lambda a: a.astype(object)), "train_images holds Python objects"),
        (replaced("train_images", lambda a: "a"), "train images have type <U1"),
        (replaced("test_images", lambda a: a[:, 0, 0]), r"shape \(20,\)"),
        (replaced("test_images", lambda a: a[:0]), "n >= 1"),
        (replaced("train_labels", lambda a: a[1:]), r"labels have shape \(39,\)"),
        (replaced("train_labels", lambda a: a[:, None]), r"labels have shape \(40, 1\)"),
        (replaced("train_labels", lambda a: a.astype(float)), "type float64 and must be integers"),
        (replaced("test_labels", lambda a: a * np.nan), r"integers \(some are NaN\): save labels"),
        (replaced("train_labels", lambda a: a.astype("m8[s]")), "type timedelta64.* be integers"),
        (replaced("train_labels", lambda a: a > 3), "type bool and must be integers"),
        (replaced("train_labels", lambda a: a.astype(str)), "and must be integers"),
        (
            replaced("train_labels", lambda a: a.astype(np.uint64) + 2**63),
            "go up to 9223372036854775",
        ),
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


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_float_images_are_those_of_bytes(make_arrays: Make, save: Save, dtype: str) -> None:
    arrays = make_arrays((8, 8))
    arrays["train_images"].flat[:256] = np.arange(256)
    floats = {
        name: (array / 255).astype(dtype) if name.endswith("images") else array
        for name, array in arrays.items()
    }
    ours, theirs = (
        ArraysConfig(path=save(a, n)) for a, n in ((arrays, "a.npz"), (floats, "b.npz"))
    )
    assert ours.fingerprint() == theirs.fingerprint()
    assert torch.equal(ours.build(CPU).train.images, theirs.build(CPU).train.images)


def test_floats_between_bytes_are_rounded(make_arrays: Make, save: Save) -> None:
    arrays = make_arrays((2, 2), train=1100)
    values = np.random.default_rng(0).random((1100, 2, 2))
    data = ArraysConfig(path=save(arrays | {"train_images": values}), validation=0).build(CPU)
    found = np.sort(data.train.images.double().flatten().numpy())
    assert np.abs(found - 255 * np.sort(values.flatten())).max() <= 0.5


def test_what_a_file_has_is_listed(make_arrays: Make, save: Save) -> None:
    arrays = make_arrays((4, 4))
    keras = {"x_train": arrays["train_images"] / 255, "y_train": arrays["train_labels"]}
    odd = {"names": np.array([{}], dtype=object)} | {f"a{i}": np.zeros(1) for i in range(20)}
    with pytest.raises(BenchError) as caught:
        ArraysConfig(path=save(keras | odd)).fingerprint()
    message = str(caught.value)
    assert "lacks train_images, train_labels, test_images, test_labels; it has x_train" in message
    assert (
        "x_train (float64, shape (40, 4, 4)), y_train (int64, shape (40,)), names (obj" in message
    )
    assert "and 11 more" in message
    with pytest.raises(BenchError, match="it has nothing; needed are"):
        ArraysConfig(path=save({})).fingerprint()


def test_members_that_are_no_arrays_are_refused(
    make_arrays: Make, save: Save, tmp_path: Path
) -> None:
    path = save(without("train_labels")(make_arrays((4, 4))))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "no array")
    with pytest.raises(BenchError, match=r"notes\.txt \(no array\)"):
        ArraysConfig(path=path).build(CPU)
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<i8', 'fortran_order': False, 'shape': (%d,)}"
    huge = (header % 10**15).ljust(127) + b"\n"
    for content in (b"no array", pickle.dumps([1]), huge):
        damaged = tmp_path / "damaged.npz"
        damaged.write_bytes(Path(path).read_bytes())
        with zipfile.ZipFile(damaged, "a") as archive:
            archive.writestr("train_labels.npy", content)
        with pytest.raises(BenchError, match="not a readable array archive"):
            ArraysConfig(path=str(damaged)).build(CPU)


def test_classes_can_be_stated(make_arrays: Make, save: Save) -> None:
    path = save(make_arrays((4, 4), classes=5))
    assert ArraysConfig(path=path, classes=12).build(CPU).classes == 12
    with pytest.raises(BenchError, match=r"must lie in 0\.\.2"):
        ArraysConfig(path=path, classes=3).build(CPU)
    with pytest.raises(BenchError, match=r"data\.classes=0"):
        ArraysConfig(path=path, classes=0).check("data")


def test_files_that_are_no_archives_are_refused(
    make_arrays: Make, save: Save, tmp_path: Path
) -> None:
    with pytest.raises(BenchError, match=r"give data\.path=FILE\.npz"):
        ArraysConfig().build(CPU)
    with pytest.raises(BenchError, match="no such file"):
        ArraysConfig(path=str(tmp_path / "missing.npz")).fingerprint()
    with pytest.raises(BenchError, match="is a folder, and an archive is one file"):
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


def test_a_folder_is_no_archive(make_arrays: Make, save: Save, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"is a folder, .* no \*\.npz in it.*dataset=image_folder"):
        ArraysConfig(path=str(tmp_path)).build(CPU)
    save(make_arrays((4, 4)), "mine.npz")
    with pytest.raises(BenchError, match=r"is a folder, and .* give one of mine\.npz in it"):
        ArraysConfig(path=str(tmp_path)).build(CPU)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda x: x / 1.0, r"save images\.round\(\)\.astype\(numpy\.uint8\), or images / 255"),
        (lambda x: x / 127.5 - 1, r"save \(images \+ 1\) / 2"),
        (lambda x: x - 300.0, r"save \(images - images\.min\(\)\) / "),
        (lambda x: x * np.nan, r"replace what is no number"),
    ],
)
def test_floats_of_another_range_come_with_their_remedy(
    make_arrays: Make, save: Save, change: Callable[[np.ndarray], np.ndarray], remedy: str
) -> None:
    arrays = make_arrays((4, 4))
    path = save(arrays | {"train_images": change(arrays["train_images"])})
    with pytest.raises(BenchError, match=f"{remedy}.*dataset=custom takes floats of any range"):
        ArraysConfig(path=path).build(CPU)
