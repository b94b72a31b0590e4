"""The context of a run, which methods, objectives and evaluators receive."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bregbench.foundations.streams import Streams

if TYPE_CHECKING:
    from bregbench.data import Data
    from bregbench.measures.structure import Structure
    from bregbench.tasks.base import TaskConfig


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """The parts of a run that built objects need; no global state exists besides.

    Attributes:
        task: loss and scores.
        data: all splits, as uint8 tensors on the device; methods train on `data.train` alone.
        batch_size: training samples per step.
        steps_per_epoch: training steps in one epoch.
        epochs: length of the phase that the method is built for.
        device: device of all tensors.
        streams: the run's random streams.
        bf16: whether forward passes run under bfloat16 autocast.
        channels_last: whether images and convolution weights have the memory layout channels_last.
        compile: whether methods should compile the forward pass.
        clip_gradients: largest Euclidean norm of all gradients together; None for any.
        accumulate: parts of a batch that are differentiated one after the other.
        built: the network as it was built, where phases may change its structure; else None.
    """

    task: TaskConfig
    data: Data
    batch_size: int
    steps_per_epoch: int
    epochs: int
    device: torch.device
    streams: Streams
    bf16: bool = False
    channels_last: bool = False
    compile: bool = False
    clip_gradients: float | None = None
    accumulate: int = 1
    built: Structure | None = None

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """A context with the precision of forward passes; parameters, duals and losses stay float32."""
        if self.bf16:
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def arrange(self, images: torch.Tensor) -> torch.Tensor:
        """Images in the run's memory layout."""
        if self.channels_last:
            return images.to(memory_format=torch.channels_last)
        return images
