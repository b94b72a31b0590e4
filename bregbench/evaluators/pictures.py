"""Evaluators that keep pictures: reconstructed images, feature maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bregbench.data import Data, Split
from bregbench.data.loader import evaluation_batches, to_unit_interval
from bregbench.evaluators.base import EvaluatorConfig
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import MOST_IMAGES, check_counts
from bregbench.foundations.streams import Streams
from bregbench.tasks.context import RunContext
from bregbench.tasks.scoring import EVALUATION_BATCH


@dataclass
class Reconstruction(EvaluatorConfig):
    """Similarity of a network's output images to the clean images; keeps some of them for figures.

    Attributes:
        images: number of test images whose inputs, outputs and targets are kept.
        train_images: number of training images whose inputs, outputs and targets are kept.
    """

    kind: ClassVar[str] = "reconstruction"
    measures: ClassVar[tuple[str, ...]] = ("reconstruction/*",)
    images: int = 8
    train_images: int = 0

    def check(self, at: str) -> None:
        """See `EvaluatorConfig.check`."""
        check_counts(self, at, "images", most=MOST_IMAGES)
        check_counts(self, at, "train_images", least=0, most=MOST_IMAGES)

    @torch.no_grad()
    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`reconstruction/ssim` of the outputs, `reconstruction/input_ssim` of the inputs.

        The metrics are means over the test split of the structural similarity (Wang et al., 2004), with a
        Gaussian window of 11 pixels and standard deviation 1.5, for images in [0, 1].

        Raises:
            BenchError: the network does not return images, or torchmetrics is not installed.
        """
        sums = torch.zeros(2, dtype=torch.float64, device=context.device)
        generator = Streams(0).generator("task/test", context.device)
        for images, labels in evaluation_batches(data.test, EVALUATION_BATCH):
            inputs, targets = context.task.pose(images, labels, generator)
            outputs = self._outputs(network, inputs, targets, context)
            sums += torch.stack([_ssim(outputs, targets).sum(), _ssim(inputs, targets).sum()])
        ours, given = (sums / len(data.test)).tolist()
        return {"reconstruction/ssim": ours, "reconstruction/input_ssim": given}

    @torch.no_grad()
    def traces(
        self, network: nn.Module, data: Data, context: RunContext
    ) -> dict[str, torch.Tensor]:
        """`inputs`, `outputs` and `targets`: uint8 ``(images, channels, height, width)``.

        The tensors of training images have the prefix `train_`.
        """
        wanted = {"": (data.test, self.images), "train_": (data.train, self.train_images)}
        kept: dict[str, torch.Tensor] = {}
        for prefix, (split, count) in wanted.items():
            if not count:
                continue
            some = Split(split.images[:count], split.labels[:count])
            ((images, labels),) = evaluation_batches(some, count)
            generator = Streams(0).generator(f"task/{prefix or 'test'}", context.device)
            inputs, targets = context.task.pose(images, labels, generator)
            outputs = self._outputs(network, inputs, targets, context)
            for name, seen in (("inputs", inputs), ("outputs", outputs), ("targets", targets)):
                kept[prefix + name] = _to_bytes(seen)
        return kept

    def _outputs(
        self,
        network: nn.Module,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        context: RunContext,
    ) -> torch.Tensor:
        with context.autocast():
            outputs = network(context.arrange(inputs)).float()
        if outputs.shape != targets.shape:
            raise BenchError(
                f"evaluators=[reconstruction] needs images, and task={context.task.kind} has outputs "
                f"{tuple(outputs.shape)}: use it with task=denoise or task=reconstruct"
            )
        return outputs


@dataclass
class FeatureMaps(EvaluatorConfig):
    """Keeps an image and its feature maps in a layer.

    Attributes:
        layer: name of a module, such as `conv1`.
        image: index of the validation image.
    """

    kind: ClassVar[str] = "feature_maps"
    measures: ClassVar[tuple[str, ...]] = ()
    layer: str = "conv1"
    image: int = 0

    def check(self, at: str) -> None:
        """See `EvaluatorConfig.check`."""
        check_counts(self, at, "image", least=0)

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """No metrics: feature maps are for figures only."""
        return {}

    def traces(
        self, network: nn.Module, data: Data, context: RunContext
    ) -> dict[str, torch.Tensor]:
        """`input`: uint8 ``(channels, height, width)``; `maps`: float16 ``(maps, height, width)``.

        Raises:
            BenchError: the layer or the image does not exist.
        """
        available = len(data.validation)
        allowed = f"in 0..{available - 1}, the validation images"
        require(0 <= self.image < available, "evaluators.feature_maps.image", self.image, allowed)
        image = data.validation.images[self.image]
        return {"input": image.cpu(), "maps": feature_maps(network, self.layer, image).half()}


@torch.no_grad()
def feature_maps(network: nn.Module, layer: str, image: torch.Tensor) -> torch.Tensor:
    """The output of a layer for an image, without the batch, on the CPU.

    Args:
        network: the network, in evaluation mode.
        layer: name of a module.
        image: uint8 ``(channels, height, width)``, on the device of the network.

    Raises:
        BenchError: the layer does not exist.
    """
    modules = dict(network.named_modules())
    if layer not in modules:
        known = ", ".join(name for name in modules if name)
        raise BenchError(f"evaluators.feature_maps.layer={layer} is unknown: choose from {known}")
    seen: list[torch.Tensor] = []
    hook = modules[layer].register_forward_hook(lambda *call: seen.append(call[2]))
    try:
        network(to_unit_interval(image)[None])
    finally:
        hook.remove()
    return seen[0][0].float().cpu()


def _ssim(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Structural similarity of each image ``(batch,)``."""
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure as ssim
    except ImportError as error:
        raise BenchError(
            "evaluators=[reconstruction] needs torchmetrics: pip install 'bregbench[images]'"
        ) from error
    found = ssim(images, targets, data_range=1.0, reduction="none")
    assert isinstance(found, torch.Tensor)
    return found.double()


def _to_bytes(images: torch.Tensor) -> torch.Tensor:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
