"""Digests of image data: what tells two data sets apart that have no name."""

from __future__ import annotations

import hashlib

import numpy as np

from bregbench.data.raw import LabelledImages, RawData


def digest_arrays(raw: RawData) -> str:
    """SHA-256 over names, types, shapes and bytes of all arrays, in hexadecimal."""
    digest = hashlib.sha256()
    for name, part in raw.parts().items():
        for kind, array in (("images", part.images), ("labels", part.labels)):
            digest.update(f"{name}_{kind} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def digest_unordered(raw: RawData) -> str:
    """SHA-256 that is the same for every order of the images within a part, in hexadecimal."""
    digest = hashlib.sha256()
    for name, part in raw.parts().items():
        digest.update(f"{name} {part.images.shape}\n".encode())
        digest.update(b"".join(sorted(_image_digests(part))))
    return digest.hexdigest()


def canonical_order(part: LabelledImages) -> LabelledImages:
    """The same images in an order that depends on their content alone.

    Sorted by a digest of each image and its label; images that tie are copies of each other.
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
