"""Reading a user's array archive (`.npz`)."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np

from bregbench.data.raw import LabelledImages, RawData
from bregbench.foundations.errors import BenchError

_REQUIRED = ("train_images", "train_labels", "test_images", "test_labels")
_OPTIONAL = ("validation_images", "validation_labels")
_REMEDY = f"write one with numpy.savez(path, {', '.join(f'{name}=...' for name in _REQUIRED)})"


def read_archive(path: str, *, classes: int | None = None) -> RawData:
    """Read and check the arrays of a data set.

    Args:
        path: archive with ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` and
            perhaps ``validation_images``, ``validation_labels``; other arrays are not looked at.
        classes: number of classes; None takes the largest training label plus one.

    Raises:
        BenchError: no such file, not an archive, a missing array, or arrays that do not fit.
    """
    arrays = _read_arrays(Path(path).expanduser())
    source = f"data.path={path}"
    for names, needed in ((_REQUIRED, True), (_OPTIONAL, any(n in arrays for n in _OPTIONAL))):
        missing = [name for name in names if name not in arrays]
        if missing and needed:
            raise BenchError(
                f"{source} lacks {', '.join(missing)} (it has {', '.join(arrays) or 'nothing'})"
            )
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


def _count_classes(labels: np.ndarray, *, source: str) -> int:
    """Largest label plus one; whether these are labels at all is checked afterwards."""
    if not np.issubdtype(labels.dtype, np.integer) or not labels.size:
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
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise BenchError(f"data.path={path} is no array archive, or cut off: {_REMEDY}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                known = [name for name in (*_REQUIRED, *_OPTIONAL) if name in archive.files]
                return {name: archive[name] for name in known}
    except FileNotFoundError:
        message = f"data.path={path}: there is no such file (looked in {path.absolute().parent})"
        raise BenchError(f"{message}: correct the path, or {_REMEDY}") from None
    except (
        *(OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError),
        *(KeyError, NotImplementedError),
    ) as error:
        raise BenchError(
            f"data.path={path} is not a readable array archive ({error}): {_REMEDY}"
        ) from error
