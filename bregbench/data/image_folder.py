"""A user's own image files, one folder a class."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from bregbench.checks import require
from bregbench.data.dataset import DatasetConfig
from bregbench.data.raw import LabelledImages, RawData
from bregbench.errors import BenchError

_PARTS = ("train", "test")


@dataclass
class ImageFolder(DatasetConfig):
    """Images of ``root/folder/train/<class>/*`` and ``root/folder/test/<class>/*``, as squares in memory.

    Attributes:
        folder: below `root`.
        size: side in pixels that images are brought to (bilinear, smoothed when reduced).
    """

    kind: ClassVar[str] = "image_folder"

    folder: str = "images"
    size: int = 112

    def load(self) -> RawData:
        """See `DatasetConfig.load`."""
        require(self.size > 0, "data.size", self.size, "at least 1")
        train, test = (self._files(part) for part in _PARTS)
        if train.keys() != test.keys():
            odd = sorted(train.keys() ^ test.keys())
            raise BenchError(
                f"data.folder={self.folder}: train and test have different classes ({', '.join(odd)}): "
                "give every class a folder in both"
            )
        parts = [self._read(list(classes.values())) for classes in (train, test)]
        raw = RawData(train=parts[0], test=parts[1], classes=len(train))
        raw.check(f"data.folder={self.folder}")
        return raw

    def fingerprint(self) -> str | None:
        """SHA-256 over the names and lengths of all files; their content is not read."""
        digest = hashlib.sha256()
        for part in _PARTS:
            for label, files in self._files(part).items():
                for file in files:
                    digest.update(f"{part}/{label}/{file.name} {file.stat().st_size}\n".encode())
        return digest.hexdigest()

    def _files(self, part: str) -> dict[str, list[Path]]:
        """Image files by class, both in alphabetical order."""
        from torchvision.datasets.folder import IMG_EXTENSIONS

        place = Path(self.root).expanduser() / self.folder / part
        classes = sorted(path for path in place.glob("*") if path.is_dir())
        found = {
            folder.name: sorted(
                file for file in folder.iterdir() if file.suffix.lower() in IMG_EXTENSIONS
            )
            for folder in classes
        }
        if not found or not all(found.values()):
            empty = [name for name, files in found.items() if not files]
            problem = f"no images of {', '.join(empty)}" if empty else "no folders of classes"
            raise BenchError(
                f"dataset=image_folder: {problem} in {place.absolute()}: put {part} images into "
                "data.root/data.folder/train/<class>/ and .../test/<class>/"
            )
        return found

    def _read(self, classes: Sequence[list[Path]]) -> LabelledImages:
        from PIL import Image, UnidentifiedImageError

        count = sum(len(files) for files in classes)
        images = np.empty((count, self.size, self.size, 3), np.uint8)
        labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes])
        for index, file in enumerate(file for files in classes for file in files):
            try:
                with Image.open(file) as image:
                    square = (self.size, self.size)
                    resized = image.convert("RGB").resize(square, Image.Resampling.BILINEAR)
            except (OSError, UnidentifiedImageError) as error:
                raise BenchError(f"{file} is no readable image ({error}): delete it") from error
            images[index] = np.asarray(resized)
        return LabelledImages(images, labels)
