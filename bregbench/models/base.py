"""Base of the architecture configs, which build networks for the shapes of a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import nn

from bregbench.data.normalization import Normalization


@dataclass
class ModelConfig(ABC):
    """Base of the architecture schemas; `kind` is the name typed as ``model=...``."""

    kind: ClassVar[str]

    def check(self, at: str) -> None:  # noqa: B027 - a model may have no sizes
        """Check all sizes that can be checked without a data set.

        Args:
            at: key of this model, `model`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """

    @abstractmethod
    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> nn.Module:
        """The network, with torch's default initialisation, on the CPU.

        Args:
            input_shape: channels, height and width of one image.
            classes: number of outputs (logits).
            normalization: normalisation that the first module, ``normalize``, applies; None for none.

        Raises:
            BenchError: the images are too small, or a size does not fit them.
        """


@runtime_checkable
class StartsFromData(Protocol):
    """A network that sets something by its training images before its first step."""

    def start_from(self, images: torch.Tensor) -> None:
        """See images ``(n, channels, height, width)`` in [0, 1], without augmentation."""
        ...
