"""Training at several resolutions: every batch is resized to a size of its own."""

from __future__ import annotations

import torch
from torch import nn

from bregbench.foundations.errors import BenchError
from fno.interpolation import Interpolation, resize_images


class BatchSizes:
    """Resizes batches by trigonometric interpolation to heights of a list.

    Args:
        sizes: heights, the width in proportion; empty leaves images as they are and draws nothing.
        generator: draws one size a batch; its state decides what comes next. None takes the sizes in
            their order, each for an equal share of the run.
    """

    def __init__(self, sizes: list[int], generator: torch.Generator | None) -> None:
        self._sizes = sizes
        self._generator = generator

    def __call__(self, images: torch.Tensor, done: float = 0.0) -> torch.Tensor:
        """A batch ``(batch, channels, height, width)`` at the next size.

        Args:
            images: the batch.
            done: the share of the run that lies behind, in [0, 1).
        """
        if not self._sizes:
            return images
        if self._generator is None:
            height = self._sizes[min(int(done * len(self._sizes)), len(self._sizes) - 1)]
            return images if height == images.shape[2] else self._resized(images, height)
        index = torch.randint(len(self._sizes), (), generator=self._generator)
        return self._resized(images, self._sizes[int(index)])

    @torch.no_grad()
    def check(self, network: nn.Module, images: torch.Tensor, kind: str) -> None:
        """Make sure that a network takes images of every size.

        Args:
            network: is left as it was.
            images: one or more examples.
            kind: its name among the models.

        Raises:
            BenchError: it does not.
        """
        training = network.training
        try:
            for size in self._sizes:
                try:
                    network.eval()(self._resized(images, size))
                except torch.OutOfMemoryError:
                    raise
                except (RuntimeError, ValueError):
                    raise BenchError(
                        f"trainer.image_sizes={self._sizes}: model={kind} takes no images of height "
                        f"{size}; use a network for any size, such as model=cnn_circular or fno"
                    ) from None
        finally:
            network.train(training)

    @staticmethod
    def _resized(images: torch.Tensor, height: int) -> torch.Tensor:
        width = max(1, round(height * images.shape[-1] / images.shape[-2]))
        return resize_images(images, (height, width), Interpolation.trigonometric)
