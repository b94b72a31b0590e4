"""The small digits of scikit-learn, a data set that needs no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bregbench.data.base import DatasetConfig
from bregbench.data.raw import LabelledImages, RawData

_CLASSES = 10
_LEVELS = 16  # Pixels count the inked dots of a 4 x 4 cell.
_TEST_EVERY = 5


@dataclass
class Digits(DatasetConfig):
    """1,797 grey 8 x 8 images of handwritten digits, pixels scaled from 0..16 to 0..255.

    The test split is every fifth image of each digit, which keeps the shares of the digits and needs no
    random numbers: 355 test images and 1,442 for training and validation.
    """

    kind: ClassVar[str] = "digits"

    validation: int | None = 180

    def load(self) -> RawData:
        """See `DatasetConfig.load`."""
        from sklearn.datasets import load_digits

        digits, labels = (np.asarray(array) for array in load_digits(return_X_y=True))
        images = np.rint(digits.reshape(-1, 8, 8) * (255 / _LEVELS)).astype(np.uint8)
        is_test = np.zeros(len(labels), dtype=bool)
        for digit in range(_CLASSES):
            is_test[np.flatnonzero(labels == digit)[_TEST_EVERY - 1 :: _TEST_EVERY]] = True
        return RawData(
            train=LabelledImages(images[~is_test], labels[~is_test]),
            test=LabelledImages(images[is_test], labels[is_test]),
            classes=_CLASSES,
        )
