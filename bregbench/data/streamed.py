"""Images that stay in their files until a batch needs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bregbench.data.crops import centre_box, crop_box
from bregbench.data.decoding import read_image
from bregbench.data.raw import LabelledImages
from bregbench.data.split import Split
from bregbench.foundations.errors import BenchError

if TYPE_CHECKING:
    from PIL.Image import Image

_aten = torch.ops.aten  # pyright: ignore[reportPrivateUsage]


class Fit(StrEnum):
    """How an image becomes a square: the whole image is resized, or its centre (see `centre_box`)."""

    whole = "whole"
    centre = "centre"

    def square(self, image: Image, size: int) -> Image:
        """The image as ``size x size`` pixels, bilinear, smoothed when reduced."""
        if self is Fit.whole:
            return _resized(image, size, size)
        (height, width), (top, left, h, w) = centre_box(image.height, image.width, size)
        return _resized(image, height, width).crop((left, top, left + w, top + h))


class FileImages(torch.Tensor):
    """A uint8 tensor ``(n, 3, size, size)`` whose pixels are read from files when a part is taken.

    Indexing, slicing and `index_select` along the first axis give ordinary tensors on `device`; all other
    operations raise BenchError. `workers` threads decode files.

    Args:
        files: one file for each image.
        size: side of the images in pixels.
        fit: how images become squares, if no crop is taken.
        workers: number of threads.
        device: device of the batches.
        upright: whether images are turned by their EXIF orientation.
    """

    files: list[Path]
    side: int
    fit: Fit
    workers: int
    upright: bool

    @staticmethod
    def __new__(
        cls,
        files: list[Path],
        *,
        size: int,
        fit: Fit,
        workers: int,
        device: torch.device,
        upright: bool = False,
    ) -> FileImages:
        shape = (len(files), 3, size, size)
        found = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=torch.uint8, device=device)  # pyright: ignore[reportAttributeAccessIssue]
        found.files, found.side, found.fit, found.workers = files, size, fit, workers
        found.upright = upright
        return found

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> torch.Tensor:
        images, *where = args
        if isinstance(images, FileImages) and where[:1] in ([], [0]):  # along the first axis
            everything = range(len(images.files))
            if func is _aten.index_select.default:
                return images.whole(where[1].tolist())
            if func is _aten.slice.Tensor:
                return images.whole(everything[slice(*where[1:])])
            if func is _aten.select.int:
                return images.whole([everything[where[1]]])[0]
        raise BenchError(
            f"images that stay in their files cannot be used as a whole ({func}): set data.stream=false, "
            "or leave out the option or evaluator that needs all images at once"
        )

    def whole(self, chosen: Sequence[int]) -> torch.Tensor:
        """The images with these indices, as squares for evaluation."""
        return self._read(chosen, lambda image, _: self.fit.square(image, self.side))

    def crops(self, chosen: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Random parts of images.

        Args:
            chosen: indices of the images.
            draws: one row for each image, see `draw_crops`; a last entry below 1/2 mirrors the image.
        """

        def cut(image: Image, index: int) -> Image:
            row = draws[index].tolist()
            top, left, h, w = crop_box(row, image.height, image.width)
            part = _resized(image.crop((left, top, left + w, top + h)), self.side, self.side)
            from PIL.Image import Transpose

            return part.transpose(Transpose.FLIP_LEFT_RIGHT) if row[-1] < 0.5 else part

        return self._read(chosen.tolist(), cut)

    def _read(self, chosen: Sequence[int], prepare: Callable[[Image, int], Image]) -> torch.Tensor:
        images = np.empty((len(chosen), self.side, self.side, 3), np.uint8)

        def read(index: int) -> None:
            images[index] = read_image(
                self.files[chosen[index]],
                lambda image: prepare(image, index),
                upright=self.upright,
            )

        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(read, range(len(chosen))))
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(self.device)


@dataclass(frozen=True, eq=False)
class ListedImages(LabelledImages):
    """Files and labels of one part of a data set; `images` is empty.

    Attributes:
        files: one file for each label.
        size: side in pixels to which images are resized.
        fit: how images become squares, if no crop is taken.
        workers: number of threads that decode.
        upright: whether images are turned by their EXIF orientation.
    """

    files: list[Path] = field(default_factory=list)
    size: int = 224
    fit: Fit = Fit.whole
    workers: int = 1
    upright: bool = False

    def select(self, order: torch.Tensor, *, device: torch.device) -> Split:
        """See `LabelledImages.select`."""
        files = [self.files[index] for index in order.tolist()]
        labels = torch.from_numpy(self.labels.astype(np.int64)).index_select(0, order)
        images = FileImages(
            files,
            size=self.size,
            fit=self.fit,
            workers=self.workers,
            device=device,
            upright=self.upright,
        )
        return Split(images=images, labels=labels.to(device))


def _resized(image: Image, height: int, width: int) -> Image:
    from PIL.Image import Resampling

    return image.resize((width, height), Resampling.BILINEAR)
