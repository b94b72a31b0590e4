"""Length, speed and machine of a training run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import torch

from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.half_precision import has_bf16
from bregbench.foundations.identity import chosen, fill_chosen, local
from bregbench.foundations.memory import keep_freed_memory
from bregbench.foundations.ranges import MOST_PIXELS, MOST_THREADS, check_counts, check_numbers
from bregbench.methods.schedules import Constant, ScheduleConfig


class Precision(StrEnum):
    """Precision of forward passes; parameters, duals and losses are always float32.

    A `TrainerConfig` replaces `auto` when it is made, before a hash is computed: by bf16 if the device has
    instructions for it, else by fp32.
    """

    fp32 = "fp32"
    bf16 = "bf16"
    auto = "auto"


class SelectOn(StrEnum):
    """The images whose score decides which epoch is the best."""

    validation = "validation"
    test = "test"
    #: accuracy on validation images under the attack of the CLIP paper
    robustness = "robustness"


@dataclass
class TrainerConfig:
    """Length, batch size, schedule, precision and machine of a run.

    Attributes:
        epochs: passes over the training data.
        batch_size: samples per step.
        max_steps: largest number of steps in all, for smoke runs; None for no limit.
        schedule: learning-rate schedule.
        precision: fp32, bf16 autocast, or `auto`: bf16 where `device` has instructions for it (a step
            takes many times as long where it has none), else fp32. The config, its hash and the records
            of the run name the one that was taken.
        channels_last: memory layout of images and convolution weights; faster on CPU and GPU.
        compile: compile the forward pass; pays on GPUs only.
        flush_denormal: treat denormal numbers as zero; the momentum of dead units decays into them,
            and arithmetic on them is slow.
        deterministic: refuse algorithms whose results vary between runs on a GPU.
        select_on: which images choose the best epoch. `test` is what the DessiLBI paper did: the accuracy
            of an epoch chosen so is no estimate for new images, and the run says so. `robustness` is what
            the CLIP paper did: the share of validation images that withstand its attack.
        keep_memory: let the C library reuse freed memory; much faster for convolutions on the CPU.
        threads: torch's CPU threads; two processes of one thread each beat one of two.
        device: `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:<n>` or `mps`.
        checkpoint_minutes: also write a checkpoint within long epochs, this often.
        image_sizes: heights; every training batch is resized to one of them, drawn anew (trigonometric
            interpolation), for networks that take images of any size. Empty for images as they are.
        clip_gradients: scale the gradients of a step down where their Euclidean norm, of all parameters
            together, is larger; None for never.
        accumulate: batches whose gradients make one step: as one batch so many times as large, in the
            memory of one. Norm layers still see `batch_size` samples.
        warmup: epochs at the beginning of every phase in which learning rates rise linearly to those of
            the schedule.
        ema: decay of an exponential moving average of the weights over the steps of the last phase, which
            is judged as variant `ema`; None for none.
        patience: end a phase when the score that chooses the best epoch has stayed below its best for so
            many epochs; None for never.
        sizes_in_order: take these heights one after another, each for an equal share of the epochs, instead
            of drawing them.
        snapshots: epochs after which the weights are kept; 0 is the start of the run.
    """

    epochs: int = 100
    batch_size: int = 128
    max_steps: int | None = None
    schedule: ScheduleConfig = chosen(Constant)
    precision: Precision = Precision.fp32
    channels_last: bool = False
    compile: bool = False
    flush_denormal: bool = True
    deterministic: bool = False
    image_sizes: list[int] = field(default_factory=list)
    sizes_in_order: bool = False
    select_on: SelectOn = SelectOn.validation
    clip_gradients: float | None = None
    accumulate: int = 1
    warmup: int = 0
    ema: float | None = None
    patience: int | None = None
    keep_memory: bool = local(True)
    threads: int = local(1)
    device: str = local("auto")
    checkpoint_minutes: float = local(5.0)
    snapshots: list[int] = local(default_factory=list)

    def __post_init__(self) -> None:
        fill_chosen(self)
        if self.precision is Precision.auto:
            self.precision = self.own_precision()

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of these options, `trainer`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        check_counts(self, at, "epochs", "snapshots", least=0)
        check_counts(self, at, "warmup", least=0)
        check_counts(self, at, "batch_size", "max_steps", "accumulate", "patience")
        check_numbers(self, at, "clip_gradients", above=0)
        check_numbers(self, at, "ema", least=0, below=1)
        on_test = self.patience is not None and self.select_on is SelectOn.test
        allowed = f"left out with {at}.select_on=test, because it would stop on test images"
        require(not on_test, f"{at}.patience", self.patience, allowed)
        check_counts(self, at, "threads", most=MOST_THREADS)
        check_counts(self, at, "image_sizes", most=MOST_PIXELS)
        check_numbers(self, at, "checkpoint_minutes", above=0)

    @property
    def step_size(self) -> int:
        """Samples of one step."""
        return self.batch_size * self.accumulate

    def torch_device(self) -> torch.device:
        """The device that `device` names.

        Raises:
            BenchError: the device is unknown, or this machine does not have it.
        """
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
        except RuntimeError:
            raise BenchError(
                f"trainer.device={self.device} is unknown: use auto, cpu, cuda or cuda:<n>"
            ) from None
        if device.type not in ("cpu", "cuda", "mps"):
            raise BenchError(
                f"trainer.device={self.device} is not supported: use auto, cpu, cuda or mps"
            )
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise BenchError(
                f"trainer.device={self.device} is not there: it needs a Mac with an Apple chip and a torch "
                "that was built for it; use trainer.device=auto or cpu"
            )
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise BenchError(
                f"trainer.device={self.device} is not there: this machine has "
                f"{torch.cuda.device_count()} CUDA devices; use trainer.device=auto or cpu"
            )
        return device

    def own_precision(self) -> Precision:
        """The precision that `auto` stands for on this device."""
        try:
            device = self.torch_device()
        except BenchError:  # the run raises this error again when it begins
            return Precision.fp32
        return Precision.bf16 if has_bf16(device) else Precision.fp32

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block torch's process-wide settings are those of the run; they are restored after it."""
        threads = torch.get_num_threads()
        deterministic = torch.are_deterministic_algorithms_enabled()
        if self.keep_memory:
            keep_freed_memory()
        torch.set_num_threads(self.threads)
        torch.set_flush_denormal(self.flush_denormal)
        torch.use_deterministic_algorithms(self.deterministic)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)
            torch.use_deterministic_algorithms(deterministic)
