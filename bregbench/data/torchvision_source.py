"""Reading torchvision's data sets, with one clear line when their files are missing or damaged."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bregbench.data.base import DatasetConfig
from bregbench.data.raw import LabelledImages, RawData
from bregbench.foundations.errors import BenchError

# Errors of torchvision's readers on missing, truncated or foreign files, and on failed downloads.
_READ_ERRORS = (
    *(RuntimeError, ValueError, TypeError, AssertionError, LookupError),
    *(OSError, EOFError, pickle.UnpicklingError),
)


def read_torchvision(
    config: DatasetConfig,
    open_part: Callable[[Path, bool, bool], LabelledImages],
    *,
    folder: str,
    counts: tuple[int, int],
    classes: int,
) -> RawData:
    """Read the training and the test images of a torchvision data set.

    Args:
        config: the config, with `root` and `download`.
        open_part: function of the root, of whether the training part is wanted, and of `download`.
        folder: folder of the files below the root, for messages.
        counts: numbers of training and test images that the data set must have.
        classes: number of classes.

    Raises:
        BenchError: files are missing or damaged, or hold another number of images.
    """
    root = Path(config.root).expanduser()
    place = f"dataset={config.kind}: looked for {folder} in data.root={root.absolute()}"
    remedy = "set data.root to the folder that holds it, or data.download=true to fetch it"
    if config.reads_archive:
        remedy += ", or data.path to an array archive"
    if config.download:
        remedy = "check the network or put the files there yourself"
    remedy += " (delete damaged files first)"
    parts: list[LabelledImages] = []
    for is_train, count in zip((True, False), counts, strict=True):
        try:
            with warnings.catch_warnings():
                # numpy >= 2.4 warns about how the original CIFAR files spell their types
                # (pytorch/vision#9340); their content is read correctly.
                warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
                part = open_part(root, is_train, config.download)
        except _READ_ERRORS as error:
            # torchvision's advice names its Python argument, which no user of the bench can set.
            reason = str(error).partition(" You can use download")[0].rstrip(". ")
            reason = reason or type(error).__name__
            raise BenchError(f"{place} and could not read it ({reason}): {remedy}") from error
        if len(part.images) != count:
            raise BenchError(
                f"{place} and found {len(part.images)} {'training' if is_train else 'test'} images "
                f"where there must be {count}: {remedy}"
            )
        parts.append(part)
    raw = RawData(train=parts[0], test=parts[1], classes=classes)
    raw.check(place)
    return raw


def labelled(images: Any, labels: Any) -> LabelledImages:
    """Arrays of images and labels that torchvision gives as tensors, arrays or lists."""
    return LabelledImages(images=np.asarray(images), labels=np.asarray(labels))
