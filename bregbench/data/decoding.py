"""One image file as 8-bit colour: each kind of pixels by a stated rule, or refused in one line."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bregbench.foundations.errors import BenchError

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

#: formats that are opened, whatever a file is called; Pillow gives others (EPS) to foreign programs
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
#: Pillow's kinds of pixels that its conversion to 8-bit colour reads right
_PLAIN = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
#: sixteen bits without a sign; `I` is these from formats that have no larger ones
_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N")
_SIXTEEN_AS_I = ("PNG", "PPM")
_UNREADABLE = {
    "F": "floats",
    "I": "integers of 32 bits or with a sign",
    "L": "integers with a sign",
}
#: pixels of an image at most: where Pillow begins to warn of decompression bombs
_MOST_PIXELS = 89_478_485
_BITS_PER_SAMPLE, _PHOTOMETRIC, _ORIENTATION, _SAMPLE_FORMAT = 258, 262, 274, 339  # tags of TIFF
_WHITE_IS_ZERO, _SIGNED = 0, 2


def read_image(
    file: Path, prepare: Callable[[Image], Image], *, upright: bool = False
) -> np.ndarray:
    """Decode a file and prepare it: uint8 ``(height, width, 3)``.

    Grey, palette, black and white, CMYK (not colour managed) and transparent images (their
    transparency is dropped) become RGB; of samples with 16 bits the high byte counts, of several
    frames the first.

    Args:
        file: a BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file.
        prepare: called with the RGB image.
        upright: turn the image as its EXIF orientation says.

    Raises:
        BenchError: it is no image, cut off, too large, or has pixels without an agreed range.
    """
    return np.asarray(prepare(_decode(file, upright=upright)))


def quiet_pillow() -> None:
    """Keep Pillow's warnings off the terminal: what is wrong with a file is said by the error.

    Filters of warnings belong to the process, so this is called before threads decode.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _decode(file: Path, *, upright: bool) -> Image:
    from PIL import Image

    try:
        with Image.open(file, formats=_formats()) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise BenchError(
                    f"{file} has {image.width} x {image.height} pixels, more than {_MOST_PIXELS}: "
                    "reduce or delete it"
                )
            colour = _colour(image, file)
            turn = _turn(image) if upright else None
            return colour if turn is None else colour.transpose(turn)
    except BenchError:
        raise
    except Exception as error:  # On foreign bytes Pillow's readers raise almost anything.
        reason = str(error) or type(error).__name__
        raise BenchError(f"{file} is no readable image ({reason}): delete it") from error


@cache
def _formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this Pillow was built with."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _turn(image: Image) -> Transpose | None:
    """What makes a loaded image upright; None where nothing has to, or nothing legible is said."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        return turns.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF says nothing about the pixels, which were read
        return None


def _colour(image: Image, file: Path) -> Image:
    """Any opened image as RGB."""
    is_signed = _SIGNED in _tags(image).get(_SAMPLE_FORMAT, ())
    if image.mode in _PLAIN and not is_signed:
        return image.convert("RGB")
    if image.mode in _SIXTEEN or (image.mode == "I" and image.format in _SIXTEEN_AS_I):
        return _from_sixteen(image)
    kind = _UNREADABLE.get(image.mode, f"kind {image.mode}")
    raise BenchError(
        f"{file} has pixels that are {kind}, whose black and white nobody knows: save it with 8 or 16 "
        "bits a channel"
    )


def _tags(image: Image) -> Any:
    """Tags of a TIFF file by number; empty for other formats."""
    return getattr(image, "tag_v2", {})


def _from_sixteen(image: Image) -> Image:
    from PIL import Image as module

    values = np.asarray(image).astype(np.int64)
    tags = _tags(image)
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = 2**bits - 1 - values
    return module.fromarray((values >> (bits - 8)).astype(np.uint8)).convert("RGB")
