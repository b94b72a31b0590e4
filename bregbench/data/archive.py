"""Reading a user's array archive (`.npz`)."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from bregbench.data.raw import LabelledImages, RawData
from bregbench.foundations.errors import BenchError

_REQUIRED = ("train_images", "train_labels", "test_images", "test_labels")
_OPTIONAL = ("validation_images", "validation_labels")
_REMEDY = f"write one with numpy.savez(path, {', '.join(f'{name}=...' for name in _REQUIRED)})"
_NEEDED = (
    "images are uint8 or floats in [0, 1] of shape (n, height, width) or (n, height, width, channels), "
    "labels are integers of shape (n,)"
)
#: Largest number of arrays that a message lists, and number of images that are converted at once.
_LISTED, _CHUNK = 12, 1024


def read_archive(path: str, *, classes: int | None = None) -> RawData:
    """Read and check the arrays of a data set.

    Float images are those of uint8 divided by 255 and become uint8 again: ``round(255 x)``, so that
    both spellings of the same images are the same data. Arrays of Python objects are never loaded.

    Args:
        path: archive with ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` and
            perhaps ``validation_images``, ``validation_labels``; other arrays are ignored.
        classes: number of classes; None takes the largest training label plus one.

    Raises:
        BenchError: the file does not exist or is no archive, an array is missing, or arrays do not fit.
    """
    source = f"data.path={path}"
    arrays = _read_arrays(Path(path).expanduser())
    for name in arrays:
        if name.endswith("_images"):
            arrays[name] = _as_bytes(arrays[name], f"{source}: {name.replace('_', ' ')}")
    if classes is None:
        classes = _count_classes(arrays["train_labels"], source=source)
    validation = None
    if _OPTIONAL[0] in arrays:
        validation = LabelledImages(arrays["validation_images"], arrays["validation_labels"])
    raw = RawData(
        train=LabelledImages(arrays["train_images"], arrays["train_labels"]),
        test=LabelledImages(arrays["test_images"], arrays["test_labels"]),
        classes=classes,
        validation=validation,
    )
    raw.check(source)
    return raw


def _as_bytes(images: np.ndarray, what: str) -> np.ndarray:
    """Floats in [0, 1] as rounded uint8; other types unchanged, because `RawData.check` refuses them."""
    if images.dtype.kind != "f" or not images.size:
        return images
    smallest, largest = float(images.min()), float(images.max())  # NaN where one is NaN
    if not 0 <= smallest <= largest <= 1:
        raise BenchError(
            f"{what} have type {images.dtype} and lie in {smallest:g}..{largest:g}, and floats must lie "
            f"in 0..1: {_float_remedy(smallest, largest)}"
        )
    converted = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _CHUNK):
        part = images[start : start + _CHUNK].astype(np.float64)
        converted[start : start + _CHUNK] = np.rint(255 * part)
    return converted


def _float_remedy(smallest: float, largest: float) -> str:
    """What to do about floats outside [0, 1]: said for the two ranges that are usual."""
    if smallest >= 0 and 1 < largest <= 255:
        scale = "save images.round().astype(numpy.uint8), or images / 255"
    elif smallest >= -1 and largest <= 1:
        scale = "save (images + 1) / 2"
    elif smallest == smallest and largest == largest:
        scale = "save (images - images.min()) / (images.max() - images.min())"
    else:
        scale = "replace what is no number"
    return f"{scale}; dataset=custom takes floats of any range as they are"


def _count_classes(labels: np.ndarray, *, source: str) -> int:
    """Largest label plus one; 0 for arrays that are no labels, which `RawData.check` refuses."""
    if labels.dtype.kind not in "iu" or not labels.size:
        return 0
    largest = int(labels.max())
    if largest >= labels.size:
        raise BenchError(
            f"{source}: train labels go up to {largest} for {labels.size} images: number the classes "
            "from 0, or give data.classes"
        )
    return largest + 1


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The known arrays of an archive; executes no code from it."""
    if path.is_dir():
        raise BenchError(
            f"data.path={path} is a folder, and an archive is one file: {_inside(path)}, or use "
            f"dataset=image_folder data.root={path.parent} data.folder={path.name} for folders of images"
        )
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise BenchError(f"data.path={path} is no array archive, or cut off: {_REMEDY}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                _refuse_missing(archive, path)
                known = [name for name in (*_REQUIRED, *_OPTIONAL) if name in archive.files]
                return {name: _array(archive, name) for name in known}
    except BenchError:
        raise
    except FileNotFoundError:
        message = f"data.path={path}: there is no such file (looked in {path.absolute().parent})"
        raise BenchError(f"{message}: correct the path, or {_REMEDY}") from None
    except Exception as error:  # On foreign bytes zipfile and numpy raise almost anything.
        reason = str(error) or type(error).__name__
        raise BenchError(
            f"data.path={path} is not a readable array archive ({reason}): {_REMEDY}"
        ) from error


def _inside(folder: Path) -> str:
    """Which archives lie in a folder, as advice."""
    found = sorted(path.name for path in folder.glob("*.npz"))
    listed = ", ".join(found[:_LISTED])
    return f"give one of {listed} in it" if found else f"there is no *.npz in it, {_REMEDY}"


def _refuse_missing(archive: Any, path: Path) -> None:
    """Raise BenchError if an archive lacks an array; the message lists the arrays that it has."""
    names = archive.files
    needed = _REQUIRED
    if any(name in names for name in _OPTIONAL):
        needed += _OPTIONAL
    missing = [name for name in needed if name not in names]
    if missing:
        listed = [_description(archive, name) for name in names[:_LISTED]]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        raise BenchError(
            f"data.path={path} lacks {', '.join(missing)}; it has {', '.join(listed) or 'nothing'}"
            f"{more}; needed are {', '.join(needed)} ({_NEEDED}): {_REMEDY}"
        )


def _description(archive: Any, name: str) -> str:
    """Name, type and shape of an array, from its header alone."""
    try:
        shape, dtype = _header(archive, name)
    except Exception:  # noqa: BLE001 - an array that nobody asked for may be anything
        return f"{name} (no array)"
    return f"{name} ({dtype}, shape {shape})"


def _array(archive: Any, name: str) -> np.ndarray:
    if _header(archive, name)[1].hasobject:
        raise ValueError(f"{name} holds Python objects, which are never loaded")
    return archive[name]


def _header(archive: Any, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array, whose content is not read."""
    members = archive.zip.namelist()
    with archive.zip.open(f"{name}.npy" if f"{name}.npy" in members else name) as member:
        shape, _, dtype = _read_header(member)
    return shape, dtype


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(member)
    return np.lib.format.read_array_header_2_0(member)
