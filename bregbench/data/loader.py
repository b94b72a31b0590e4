"""Batches cut from tensors that already lie on the device, with an exact resume in mid-epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from bregbench.data.augment import Augment, crop_flip, resized_crop_flip
from bregbench.data.split import Split
from bregbench.foundations.errors import BenchError, require


class BatchLoader:
    """Shuffled training batches; every ``for`` loop over the loader is one epoch.

    Images stay uint8 on their device and become float32 batch by batch. No step waits for the
    device: the permutation is drawn once an epoch, and batches are gathered by index. `indices` are the
    indices of the present batch's images in the split.

    The next loop continues an epoch that was left early (by ``break`` or by a restored state), with its
    remaining batches; `restart` drops the remaining batches.

    Args:
        split: the training images.
        batch_size: images in a batch; the last one of an epoch may be smaller.
        generator: random generator of the order, which must serve no other purpose.
        augment_generator: random generator of crops and flips, best on the images' device; None without
            augmentation.
        augment: augmentation of the images.
        drop_last: whether a last batch that is smaller than `batch_size` is left out.

    Raises:
        BenchError: the batch size is below 1, or no full batch exists and `drop_last` is set.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        generator: torch.Generator,
        augment_generator: torch.Generator | None = None,
        augment: Augment = Augment.none,
        drop_last: bool = False,
    ) -> None:
        require(batch_size > 0, "trainer.batch_size", batch_size, "at least 1")
        if drop_last:
            allowed = f"at most {len(split)}, the number of training images"
            require(batch_size <= len(split), "trainer.batch_size", batch_size, allowed)
        if augment is not Augment.none and augment_generator is None:
            raise ValueError(f"augment={augment.name} needs an augment_generator")
        self.split = split
        self.batch_size = batch_size
        self.augment = augment
        self.drop_last = drop_last
        self._generator = generator
        self._augment_generator = augment_generator
        self.indices = torch.empty(0, dtype=torch.int64)
        self._batch = 0
        self._order: torch.Tensor | None = None
        self._epoch_state = generator.get_state()

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        full, rest = divmod(len(self.split), self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield float32 images in [0, 1] ``(batch, channels, height, width)`` and int64 labels."""
        if self._order is None:
            self._begin()
        while self._order is not None and self._batch < len(self):
            start = self._batch * self.batch_size
            chosen = self._order[start : start + self.batch_size]
            # Count the batch before it is yielded: a state that the caller saves during this batch must
            # include it.
            self._batch += 1
            self.indices = chosen
            yield self._images(chosen), self.split.labels.index_select(0, chosen)
        self.restart()

    def restart(self) -> None:
        """Let the next loop begin a new epoch, and drop the remaining batches of the present one."""
        self._batch = 0
        self._order = None

    def state_dict(self) -> dict[str, Any]:
        """Position within the epoch and the random states of the following batches."""
        begun = self._order is not None
        state: dict[str, Any] = {
            "images": len(self.split),
            "batch_size": self.batch_size,
            "begun": begun,
            "batch": self._batch,
            "generator": self._epoch_state if begun else self._generator.get_state(),
        }
        if self._augment_generator is not None:
            state["augment_generator"] = self._augment_generator.get_state()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, with its order, position and augmentation.

        Raises:
            BenchError: the state belongs to another number of images or another batch size.
        """
        for key, present in {"images": len(self.split), "batch_size": self.batch_size}.items():
            if state[key] != present:
                raise BenchError(
                    f"cannot resume: the checkpoint was written with {key}={state[key]} and the "
                    f"run has {key}={present}; use the same data and batch size or start a new run"
                )
        self.restart()
        self._generator.set_state(state["generator"].cpu())
        if self._augment_generator is not None:
            self._augment_generator.set_state(state["augment_generator"].cpu())
        if state["begun"]:
            self._begin()
            self._batch = state["batch"]

    def _begin(self) -> None:
        self._epoch_state = self._generator.get_state()
        count, device = len(self.split), self._generator.device
        order = torch.randperm(count, generator=self._generator, device=device)
        self._order = order.to(self.split.images.device)

    def _images(self, chosen: torch.Tensor) -> torch.Tensor:
        generator = self._augment_generator
        if self.augment is Augment.resized_crop_flip and generator is not None:
            return to_unit_interval(
                resized_crop_flip(self.split.images, chosen, generator=generator)
            )
        images = self.split.images.index_select(0, chosen)
        if self.augment is Augment.crop_flip and generator is not None:
            images = crop_flip(images, generator=generator)
        return to_unit_interval(images)


def evaluation_batches(
    split: Split, batch_size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every image once, in order and without augmentation; no batch for an empty split.

    Yields:
        float32 images in [0, 1] ``(batch, channels, height, width)`` and int64 labels ``(batch,)``.
    """
    for start in range(0, len(split), batch_size):
        images = split.images[start : start + batch_size]
        yield to_unit_interval(images), split.labels[start : start + batch_size]


def to_unit_interval(images: torch.Tensor) -> torch.Tensor:
    """Convert uint8 images to float32 in [0, 1]; inputs of other types are returned as they are."""
    if images.dtype != torch.uint8:
        return images
    return images.to(torch.float32).div_(255)
