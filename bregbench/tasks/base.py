"""Tasks: inputs and targets of a network, its loss and scores, and the score that selects epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.identity import local
from bregbench.foundations.ranges import check_numbers
from bregman.modules import evaluating

#: Metrics of an epoch that improve when they grow; the loss and all other metrics improve when they fall.
LARGER_IS_BETTER = ("accuracy", "accuracy_top5", "fit", "pgd", "psnr")


def larger_is_better(metric: str) -> bool:
    """Whether a metric such as `validation/psnr` improves by growing."""
    return metric.rpartition("/")[2] in LARGER_IS_BETTER


@dataclass
class TaskConfig:
    """The task of a run."""

    kind: ClassVar[str]
    #: Score by which the best epoch is chosen; a larger score is better.
    selection: ClassVar[str]

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of this task, `task`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """

    def check_targets(self, labels: torch.Tensor) -> None:
        """Refuse targets that no loss of this task is about.

        Args:
            labels: of training samples, ``(n,)``.

        Raises:
            BenchError: names their type and the task that wants them.
        """

    def check_network(
        self, network: nn.Module, input_shape: tuple[int, int, int], classes: int
    ) -> None:
        """Raise BenchError unless the network's outputs have the shape that this task needs.

        Args:
            network: the network, on the CPU; its mode is restored.
            input_shape: channels, height and width of one image.
            classes: number of labels.

        Raises:
            BenchError: the outputs have another shape; the message names both shapes.
        """
        wanted = self.output_shape(input_shape, classes)
        with torch.no_grad(), evaluating(network):
            found = tuple(network(torch.zeros(1, *input_shape)).shape[1:])
        if found != wanted:
            raise BenchError(
                f"task={self.kind} needs outputs of shape {wanted} and the network has {found}: "
                "choose another model or task (a function of model=custom gets the number of labels where "
                "it has a parameter `classes`)"
            )

    def output_shape(self, input_shape: tuple[int, int, int], classes: int) -> tuple[int, ...]:
        """Shape of the network's output for one image, without the batch."""
        raise NotImplementedError

    def pose(
        self, images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of the network for a batch.

        Args:
            images: images in [0, 1], ``(batch, channels, height, width)``.
            labels: labels ``(batch,)``.
            generator: random generator of the task, on the device of the images.

        Returns:
            Inputs ``(batch, channels, height, width)`` and targets with the batch as first axis.
        """
        return images, labels

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch, differentiable."""
        raise NotImplementedError

    def training_loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """What training differentiates, where it is not the loss that evaluations report."""
        return self.loss(outputs, targets)

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Sums of scores over the batch; a metric is the sum over all batches by the number of samples."""
        raise NotImplementedError


@dataclass
class Classification(TaskConfig):
    """Class labels from images: cross-entropy on logits, accuracy.

    Attributes:
        top5: also score whether the label is among the five largest logits (`accuracy_top5`).
        label_smoothing: share of the target probability that training spreads over all labels, as in
            `torch.nn.CrossEntropyLoss`; `train/loss` is then that loss, and other losses stay as they are.
    """

    kind: ClassVar[str] = "classification"
    selection: ClassVar[str] = "accuracy"
    top5: bool = local(False)
    label_smoothing: float = 0.0

    def check(self, at: str) -> None:
        """See `TaskConfig.check`."""
        check_numbers(self, at, "label_smoothing", least=0, below=1)

    def check_targets(self, labels: torch.Tensor) -> None:
        """Labels are whole numbers."""
        if labels.is_floating_point():
            raise BenchError(
                "task=classification needs whole numbers for labels and the data set has floats: choose "
                "task=regression, or give labels.astype(int)"
            )

    def check_network(
        self, network: nn.Module, input_shape: tuple[int, int, int], classes: int
    ) -> None:
        require(
            not self.top5 or classes > 5, "task.top5", self.top5, f"false for {classes} classes"
        )
        super().check_network(network, input_shape, classes)

    def output_shape(self, input_shape: tuple[int, int, int], classes: int) -> tuple[int, ...]:
        """A logit for each class."""
        return (classes,)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of logits (batch, classes) and labels (batch,)."""
        return nn.functional.cross_entropy(outputs.float(), targets)

    def training_loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy with smoothed labels."""
        smoothing = self.label_smoothing
        return nn.functional.cross_entropy(outputs.float(), targets, label_smoothing=smoothing)

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Number of labels at the largest logit, and with `top5` of labels at one of the five largest."""
        found = {"accuracy": (outputs.argmax(1) == targets).sum()}
        if self.top5:
            found["accuracy_top5"] = (outputs.topk(5, 1).indices == targets[:, None]).sum()
        return found


@dataclass
class Regression(TaskConfig):
    """A number from an input: mean squared error."""

    kind: ClassVar[str] = "regression"
    selection: ClassVar[str] = "fit"

    def output_shape(self, input_shape: tuple[int, int, int], classes: int) -> tuple[int, ...]:
        """One number."""
        return (1,)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean squared error of outputs (batch, 1) and targets (batch,)."""
        return nn.functional.mse_loss(outputs.float().flatten(), targets.float())

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Sum of minus the squared errors, so that a larger score is better."""
        return {"fit": -(outputs.float().flatten() - targets).square().sum()}


@dataclass
class Reconstruct(TaskConfig):
    """Images from themselves: mean squared error, peak signal-to-noise ratio."""

    kind: ClassVar[str] = "reconstruct"
    selection: ClassVar[str] = "psnr"

    def output_shape(self, input_shape: tuple[int, int, int], classes: int) -> tuple[int, ...]:
        """An image."""
        return input_shape

    def pose(
        self, images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The images as inputs and as targets."""
        return images, images

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean squared error over batch and pixels, of outputs and images in [0, 1]."""
        return nn.functional.mse_loss(outputs.float(), targets)

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Sum of peak signal-to-noise ratios in dB, -10 log10 of the mean squared error of an image."""
        errors = (outputs.float() - targets).square().flatten(1).mean(1)
        return {"psnr": -10 * errors.clamp(min=1e-12).log10().sum()}


@dataclass
class Denoise(Reconstruct):
    """Clean images from noisy ones (Bregman paper, Section 4.6).

    Gaussian noise is drawn anew for every training batch; all evaluations use one draw of the noise.

    Attributes:
        noise: standard deviation of the noise, for images in [0, 1]; noisy images are not clamped.
    """

    kind: ClassVar[str] = "denoise"
    noise: float = 0.1

    def check(self, at: str) -> None:
        check_numbers(self, at, "noise", least=0)

    def pose(
        self, images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Noisy images as inputs, clean images as targets."""
        drawn = torch.randn(images.shape, generator=generator, device=images.device)
        return images + self.noise * drawn, images
