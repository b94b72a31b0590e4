"""Decoding of an image file to 8-bit colour, by a stated rule for each kind of pixels, or an error."""

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

#: Formats that are opened, whatever a file's name is; Pillow calls other programs for formats such as EPS.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
#: Pillow's kinds of pixels that its own conversion to 8-bit colour treats correctly.
_PLAIN = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
#: Kinds with 16 bits without a sign; `I` also means 16 bits in the formats of `_SIXTEEN_AS_I`.
_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N")
_SIXTEEN_AS_I = ("PNG", "PPM")
_UNREADABLE = {
    "F": "floats",
    "I": "integers of 32 bits or with a sign",
    "L": "integers with a sign",
}
#: Largest number of pixels of an image: above, Pillow warns of decompression bombs.
_MOST_PIXELS = 89_478_485
_BITS_PER_SAMPLE, _PHOTOMETRIC, _ORIENTATION, _SAMPLE_FORMAT = 258, 262, 274, 339  # tags of TIFF
_WHITE_IS_ZERO, _SIGNED = 0, 2


def read_image(
    file: Path, prepare: Callable[[Image], Image], *, upright: bool = False
) -> np.ndarray:
    """Decode a file and prepare it: uint8 ``(height, width, 3)``.

    Grey, palette, black and white, CMYK (without colour management) and transparent images (without
    their transparency) become RGB. Samples with 16 bits are reduced to the high byte. Of several frames
    the first is taken.

    Args:
        file: a BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file.
        prepare: function of the RGB image that returns the image to convert.
        upright: whether the image is turned by its EXIF orientation.

    Raises:
        BenchError: the file is no image, is cut off or too large, or has pixels without a known range.
    """
    return np.asarray(prepare(_decode(file, upright=upright)))


def quiet_pillow() -> None:
    """Suppress Pillow's warnings, because errors name the files that are wrong.

    Filters of warnings belong to the process, so call this function before threads decode.
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
    """The turn of a loaded image by its EXIF orientation; None without a turn or with damaged EXIF."""
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
    except Exception:  # noqa: BLE001 - the pixels of a file with damaged EXIF are valid
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
        f"{file} has pixels that are {kind}, whose range is unknown: save it with 8 or 16 bits a channel"
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
