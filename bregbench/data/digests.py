"""Digests of image data, which identify data sets without a name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from bregbench.data.raw import LabelledImages, RawData
from bregbench.foundations.errors import BenchError

#: Files with at most this number of bytes together are read whole for their digest.
WHOLE_BYTES = 4 * 2**30
#: Number of bytes at the beginning and at the end of a file that count in larger collections.
END_BYTES = 2**13


def digest_arrays(raw: RawData) -> str:
    """SHA-256 over names, types, shapes and bytes of all arrays, in hexadecimal."""
    digest = hashlib.sha256()
    for name, part in raw.parts().items():
        for kind, array in (("images", part.images), ("labels", part.labels)):
            digest.update(f"{name}_{kind} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def digest_files(files: dict[str, Path]) -> str:
    """SHA-256 over names and contents of files, in hexadecimal.

    Files are read whole if they have at most `WHOLE_BYTES` together. In a larger collection each file
    counts by its length and its first and last `END_BYTES`, because reading all of it would take too long.

    Args:
        files: paths by the names that enter the digest, which must not depend on the place of the data.

    Raises:
        BenchError: a file cannot be read.
    """
    try:
        sizes = {name: file.stat().st_size for name, file in files.items()}
        is_whole = sum(sizes.values()) <= WHOLE_BYTES
        digest = hashlib.sha256(b"whole\n" if is_whole else b"ends\n")
        for name, file in files.items():
            content = _content(file) if is_whole else _ends(file, sizes[name])
            digest.update(f"{json.dumps([name, sizes[name], content])}\n".encode())
    except OSError as error:
        raise BenchError(f"an image cannot be read ({error}): correct or delete it") from error
    return digest.hexdigest()


def _content(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _ends(file: Path, size: int) -> str:
    with file.open("rb") as stream:
        digest = hashlib.sha256(stream.read(END_BYTES))
        stream.seek(max(size - END_BYTES, 0))
        digest.update(stream.read(END_BYTES))
    return digest.hexdigest()


def digest_unordered(raw: RawData) -> str:
    """SHA-256 that does not depend on the order of the images within a part, in hexadecimal."""
    digest = hashlib.sha256()
    for name, part in raw.parts().items():
        digest.update(f"{name} {part.images.shape}\n".encode())
        digest.update(b"".join(sorted(_image_digests(part))))
    return digest.hexdigest()


def canonical_order(part: LabelledImages) -> LabelledImages:
    """The images of a part in an order that depends on their content only.

    Images are sorted by a digest of image and label; images with equal digests are copies.
    """
    digests = _image_digests(part)
    order = sorted(range(len(part)), key=digests.__getitem__)
    return LabelledImages(images=part.images[order], labels=part.labels[order])


def _image_digests(part: LabelledImages) -> list[bytes]:
    """Sixteen bytes for each image and its label."""
    images = np.ascontiguousarray(part.images)
    labels = part.labels.astype(np.int64).tolist()
    return [
        hashlib.blake2b(image.data, digest_size=16, salt=label.to_bytes(8, "little")).digest()
        for image, label in zip(images, labels, strict=True)
    ]
