"""The drawn figures as small pictures that travel inside the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

#: pixels of the longer side
LARGEST = 900
_QUALITY = 45


def read_pictures(results: Path) -> dict[str, str]:
    """Every drawn figure as a `data:` address, by name.

    Args:
        results: folder whose folders hold `<name>/<name>.png`.
    """
    paths = sorted(results.glob("*/*.png"))
    return {path.stem: _address(path) for path in paths if path.stem == path.parent.name}


def _address(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    small.save(file, "webp", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
