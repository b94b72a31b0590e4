"""Data sets with known digests of their genuine content; other content is refused or marked."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from bregbench.data.base import DatasetConfig
from bregbench.data.raw import RawData
from bregbench.foundations.errors import BenchError

#: `digest_content` of the genuine arrays
GENUINE: dict[str, dict[str, str]] = {
    "mnist": {
        "train images": "a926d4836e4a6d5e1224cfa302fdbb13eafa0b102b47ea2190e7ddda42e95c38",
        "train labels": "fa4ba18a44d456eaa3072beb950b054032d7d00460d924a64d5341cf6891f3fe",
        "test images": "7054b4ccf7731cbe5c608a72ba39546abe238330b4ea4e9c19b0b82f0d38d879",
        "test labels": "cb0786f45a40e72d43e2d47431ec2054e39468a4d9794a03886e76fe5e048e9a",
    },
    "fashion_mnist": {
        "train images": "0091c5a3e24d3b06a8132c5acd26b487102dded860cdd22660f47f5209849be5",
        "train labels": "68c99df0d93ceef596415872591a82546f12a918a0d69f6391a549c4bb1222a4",
        "test images": "67fb6b1e91863826c87621414818b3c79a88a5135dc52c4986f5b4ee8a550738",
        "test labels": "8f1e90175d6772568d229b84ee0c5dbe84b57e748f1386533ca12eaddf01054c",
    },
}


@dataclass
class KnownDataset(DatasetConfig):
    """Base of data sets that are compared with the digests of their genuine content.

    Attributes:
        verify: whether other content is refused. With False other content is accepted: the hash of the
            run then contains this field and a digest of the content, and the summary says so.
    """

    verify: bool = True

    @abstractmethod
    def strange(self, raw: RawData) -> str | None:
        """A description of the arrays that differ from the genuine ones; None if all are genuine."""

    def verified(self, raw: RawData, place: str) -> RawData:
        """Return the arrays after their comparison with the genuine ones, if `verify` is on.

        Args:
            raw: the arrays.
            place: place of the files, for the message.

        Raises:
            BenchError: the arrays are not those of the data set.
        """
        problem = self.strange(raw) if self.verify else None
        if problem is not None:
            raise BenchError(
                f"dataset={self.kind}: {problem} (read from {place}): put the genuine files there, or "
                "read your own images with dataset=arrays data.path=FILE.npz; data.verify=false trains "
                "on these, and the record says so"
            )
        return raw

    def notes(self) -> list[str]:
        """See `DatasetConfig.notes`."""
        if self.verify:
            return []
        return [
            f"data.verify=false: the images were not compared with the genuine images of {self.kind}, "
            "so the scores may belong to other data"
        ]


def digest_content(raw: RawData) -> dict[str, str]:
    """SHA-256 over shape and values of each array by name; labels count as bytes."""
    digests: dict[str, str] = {}
    for name, part in raw.parts().items():
        for kind, array in (("images", part.images), ("labels", part.labels)):
            digest = hashlib.sha256(f"{array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array, dtype=np.uint8).data)
            digests[f"{name} {kind}"] = digest.hexdigest()
    return digests


def strange_arrays(raw: RawData, name: str) -> str | None:
    """A description of the arrays that differ from the genuine ones of a data set; None if none does.

    Args:
        raw: arrays with labels in 0..255.
        name: a key of `GENUINE`.
    """
    found = digest_content(raw)
    odd = [array for array, digest in found.items() if GENUINE[name].get(array) != digest]
    if not odd:
        return None
    for other, digests in GENUINE.items():
        if all(digests.get(array) == found[array] for array in odd):
            return f"the {', '.join(odd)} are those of dataset={other}"
    return f"the {', '.join(odd)} are not the genuine ones"
