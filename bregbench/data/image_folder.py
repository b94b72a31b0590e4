"""Image files with one folder for each class: a user's own images, or ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from bregbench.data.augment import Augment
from bregbench.data.base import DatasetConfig
from bregbench.data.decoding import quiet_pillow, read_image
from bregbench.data.digests import digest_files
from bregbench.data.normalization import Normalization, compute_normalization
from bregbench.data.raw import LabelledImages, RawData
from bregbench.data.split import Split
from bregbench.data.streamed import Fit, ListedImages
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.identity import local
from bregbench.foundations.ranges import MOST_PIXELS, MOST_THREADS, check_counts

#: Number of images of a streamed data set from which normalisation statistics are computed.
_SAMPLE = 2048
_IMAGENET_CLASSES = 1000
#: names in a folder that a message lists
_LISTED = 8


@dataclass
class ImageFolder(DatasetConfig):
    """Images of ``root/folder/train/<class>/*`` and ``root/folder/test/<class>/*``, as squares.

    The hash of a run contains a digest of the files (see `fingerprint`). `read_image` describes the
    treatment of pixels other than 8-bit colour.

    Attributes:
        folder: folder of the images, below `root`.
        size: side in pixels to which images are resized (bilinear, smoothed when reduced).
        fit: `whole`: the whole image is resized, whatever its shape; `centre`: the usual crop for
            evaluation, the centre of the image after resizing its shorter side to 256/224 of `size`.
        stream: whether images stay in their files until a batch needs them, for data sets larger than
            memory. `augment=resized_crop_flip` then cuts from the whole file, and the statistics of the
            first 2,048 training images normalise the inputs.
        workers: number of threads that decode a batch, with `stream`.
    """

    kind: ClassVar[str] = "image_folder"
    parts: ClassVar[tuple[str, str]] = ("train", "test")
    #: Whether photographs are turned by their EXIF orientation.
    upright: ClassVar[bool] = True

    folder: str = "images"
    size: int = 112
    fit: Fit = Fit.whole
    stream: bool = False
    workers: int = local(8)

    def check(self, at: str) -> None:
        """See `DatasetConfig.check`."""
        super().check(at)
        check_counts(self, at, "size", most=MOST_PIXELS)
        check_counts(self, at, "workers", most=MOST_THREADS)

    def load(self) -> RawData:
        """See `DatasetConfig.load`."""
        quiet_pillow()
        first, second = self.parts
        train, test = self._files(first), self._files(second)
        if train.keys() != test.keys():
            odd = sorted(train.keys() ^ test.keys())
            raise BenchError(
                f"data.folder={self.folder}: {first} and {second} have different classes "
                f"({', '.join(odd)}): "
                "give every class a folder in both"
            )
        take = self._list if self.stream else self._read
        parts = [take(list(classes.values())) for classes in (train, test)]
        raw = RawData(train=parts[0], test=parts[1], classes=len(train))
        if not self.stream:
            raw.check(f"data.folder={self.folder}")
        return raw

    def pathless(self, path: str) -> str:
        """See `DatasetConfig.pathless`."""
        place = Path(path).expanduser()
        if not place.is_dir():
            return f"dataset={self.kind}, which reads folders: use dataset=arrays for an archive"
        return (
            f"dataset={self.kind}: say data.root={place.parent} data.folder={place.name}, which holds "
            f"{self.parts[0]}/<class>/ and {self.parts[1]}/<class>/"
        )

    def statistics(self, train: Split) -> Normalization:
        """See `DatasetConfig.statistics`; with `stream` they are those of a sample."""
        images = train.images[:_SAMPLE] if self.stream else train.images
        return compute_normalization(images, self.normalise)

    def fingerprint(self) -> str | None:
        """Digest of the contents of all files, see `digest_files`."""
        return digest_files(
            {
                f"{part}/{label}/{file.name}": file
                for part in self.parts
                for label, files in self._files(part).items()
                for file in files
            }
        )

    def _files(self, part: str) -> dict[str, list[Path]]:
        """Image files by class, both in alphabetical order."""
        place = Path(self.root).expanduser() / self.folder / part
        try:
            classes = sorted(path for path in place.glob("*") if path.is_dir())
            found = {_utf8(folder).name: _images_in(folder) for folder in classes}
        except OSError as error:
            raise BenchError(
                f"dataset={self.kind}: cannot read the folders of {place.absolute()} ({error})"
            ) from error
        if not found or not all(found.values()):
            empty = [name for name, files in found.items() if not files]
            problem = f"no images of {', '.join(empty)}" if empty else "no folders of classes"
            holder = place / empty[0] if empty else place
            raise BenchError(
                f"dataset={self.kind}: {problem} in {place.absolute()}{_listing(holder)}: put {part} images "
                f"into data.root/data.folder/{self.parts[0]}/<class>/ and .../{self.parts[1]}/<class>/"
            )
        return found

    def _read(self, classes: Sequence[list[Path]]) -> LabelledImages:
        listed = self._list(classes)
        images = np.empty((len(listed), self.size, self.size, 3), np.uint8)
        for index, file in enumerate(listed.files):
            images[index] = read_image(
                file, lambda image: self.fit.square(image, self.size), upright=self.upright
            )
        return LabelledImages(images, listed.labels)

    def _list(self, classes: Sequence[list[Path]]) -> ListedImages:
        return ListedImages(
            images=np.empty((0, self.size, self.size, 3), np.uint8),
            labels=np.repeat(np.arange(len(classes)), [len(files) for files in classes]),
            files=[file for files in classes for file in files],
            size=self.size,
            fit=self.fit,
            workers=self.workers,
            upright=self.upright,
        )


def _listing(folder: Path) -> str:
    """What a folder, or the nearest one above it that there is, holds; for messages."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    names = sorted(p.name + "/" * p.is_dir() for p in there.iterdir())
    shown = [ascii(name)[1:-1] for name in names[:_LISTED]]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    where = "which" if there == folder else f"and {there}"
    return f" ({where} has {', '.join(shown) or 'nothing'}{more})"


def _images_in(folder: Path) -> list[Path]:
    """Files with the name of an image, in alphabetical order.

    Raises:
        BenchError: one of them is no ordinary file, or its name is no UTF-8.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS

    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMG_EXTENSIONS)
    for file in files:
        if not _utf8(file).is_file():
            raise BenchError(f"{file} has the name of an image and is no file: delete it")
    return files


def _utf8(path: Path) -> Path:
    """Return a path after checking that messages and records can contain it.

    Raises:
        BenchError: the bytes of the path are no UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise BenchError(f"the name {str(path)!a} is no UTF-8: rename it") from None
    return path


@dataclass
class ImageNet(ImageFolder):
    """ImageNet (ILSVRC 2012): ``root/imagenet/{train,val}/<class>/*.JPEG``, read batch by batch.

    The validation images of the challenge are the test split. The name determines the data, so the hash
    of a run needs no files.
    """

    kind: ClassVar[str] = "imagenet"
    parts: ClassVar[tuple[str, str]] = ("train", "val")
    #: Published numbers were measured without turning images by their EXIF orientation.
    upright: ClassVar[bool] = False

    folder: str = "imagenet"
    size: int = 224
    fit: Fit = Fit.centre
    stream: bool = True
    augment: Augment = Augment.resized_crop_flip

    def load(self) -> RawData:
        """See `DatasetConfig.load`."""
        raw = super().load()
        require(
            raw.classes == _IMAGENET_CLASSES,
            f"the number of classes in data.folder={self.folder}",
            raw.classes,
            f"{_IMAGENET_CLASSES}; use dataset=image_folder data.stream=true for other images",
        )
        return raw

    def fingerprint(self) -> str | None:
        """None, because the name determines the data."""
        return None
