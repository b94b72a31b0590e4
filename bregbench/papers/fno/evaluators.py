"""Evaluators of resolution: accuracy over input sizes, and after conversions of convolutions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, TypeVar

import torch
from torch import nn

from bregbench.data import Data, Split
from bregbench.data.loader import evaluation_batches, to_unit_interval
from bregbench.evaluators.base import EvaluatorConfig
from bregbench.evaluators.sample import sample_of
from bregbench.foundations.console import say
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import MOST_PIXELS, check_counts
from bregbench.tasks.base import Classification
from bregbench.tasks.context import RunContext
from fno import SpectralConv2d, spatial_network, spectral_network
from fno.choices import Truncation
from fno.interpolation import InputResize, Interpolation, resize_images

#: images in a forward pass, few because feature maps of enlarged images need memory
_BATCH = 250

_Name = TypeVar("_Name")


class Judged(StrEnum):
    """Which network is judged on resized images.

    The network itself; the network with circular convolutions converted to spectral layers, or spectral
    layers to circular convolutions, which is exact at the size of the training images; or the network after
    interpolation of its input to the size of the training images.
    """

    network = "network"
    spectral = "spectral"
    spatial = "spatial"
    nearest = "nearest"
    bilinear = "bilinear"
    bicubic = "bicubic"
    trigonometric = "trigonometric"


@dataclass
class Resolution(EvaluatorConfig):
    """Accuracy over input sizes (Kabri et al. 2023, Figure 4), for any classifier.

    Images of other sizes are interpolations of the test images, as in the paper.

    Attributes:
        sizes: heights of the resized test images, whose width is in proportion; empty for a quarter to twice
            the height of the images.
        data: how test images are resized.
        networks: networks that are judged; those that do not exist for the model are reported and left out.
        images: number of test images; None for all.
    """

    kind: ClassVar[str] = "resolution"
    measures: ClassVar[tuple[str, ...]] = ("resolution/*",)
    sizes: list[int] = field(default_factory=list)
    data: list[Interpolation] = field(
        default_factory=lambda: [Interpolation.trigonometric, Interpolation.bilinear]
    )
    networks: list[Judged] = field(
        default_factory=lambda: [
            Judged.network,
            Judged.spectral,
            Judged.spatial,
            Judged.trigonometric,
            Judged.bilinear,
        ]
    )
    images: int | None = None

    def check(self, at: str) -> None:
        """See `EvaluatorConfig.check`."""
        check_counts(self, at, "sizes", most=MOST_PIXELS)
        check_counts(self, at, "images")
        for name in ("data", "networks"):
            require(len(getattr(self, name)) > 0, f"{at}.{name}", [], "at least one")

    @torch.no_grad()
    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`resolution/<data>_<size>` of the network, `resolution/<judged>/<data>_<size>` of others.

        Raises:
            BenchError: the task is no classification.
        """
        _check_task(self.kind, context)
        sizes = self.sizes or _shares(data.input_shape[1], (0.25, 0.5, 0.75, 1, 1.25, 1.5, 2))
        split = _images_of(data.test, self.images)
        judged, left_out = self._judged(network, data)
        refused: dict[Judged, list[str]] = {}
        found: dict[str, float] = {}
        for size in sizes:
            target = _scaled(data.input_shape, size)
            able = {k: net for k, net in judged.items() if _takes(net, data, target, context)}
            for kind in judged.keys() - able.keys():
                refused.setdefault(kind, []).append(f"{target[0]} x {target[1]}")
            for interpolation in self.data:
                accuracies = _accuracies(able, split, context, target, interpolation)
                for kind, accuracy in accuracies.items():
                    prefix = "" if kind is Judged.network else f"{kind}/"
                    found[f"resolution/{prefix}{interpolation}_{size}"] = accuracy
        for kind, images in refused.items():
            left_out[kind] = f"it takes no images of {', '.join(images)}"
        for kind, reason in left_out.items():
            say(f"note: evaluators=[resolution] leaves out networks=[{kind}]: {reason}")
        return found

    def _judged(
        self, network: nn.Module, data: Data
    ) -> tuple[dict[Judged, nn.Module], dict[Judged, str]]:
        """The networks to judge, and for each other network the reason why it is left out."""
        judged: dict[Judged, nn.Module] = {}
        left_out: dict[Judged, str] = {}
        for kind in self.networks:
            try:
                judged[kind] = _variant(network, kind, data)
            except ValueError as error:
                left_out[kind] = str(error)
        return judged, left_out


@dataclass
class Conversion(EvaluatorConfig):
    """Accuracy after conversions between kernels and modes (Kabri et al. 2023, Figure 3).

    Attributes:
        modes: numbers of modes per axis that converted circular convolutions keep; empty for a quarter,
            half, three quarters and all of the height of the images.
        truncation: ways of truncating modes, each of which is measured.
        images: number of test images; None for all.
    """

    kind: ClassVar[str] = "conversion"
    measures: ClassVar[tuple[str, ...]] = ("conversion/*",)
    modes: list[int] = field(default_factory=list)
    truncation: list[Truncation] = field(default_factory=lambda: [Truncation.exact])
    images: int | None = None

    def check(self, at: str) -> None:
        """See `EvaluatorConfig.check`."""
        check_counts(self, at, "modes", most=MOST_PIXELS)
        check_counts(self, at, "images")
        allowed = "exact, published or both"
        require(len(self.truncation) > 0, f"{at}.truncation", [], allowed)

    @torch.no_grad()
    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`conversion/modes_<M>` of circular convolutions, `conversion/spatial` of spectral layers.

        With published truncation, circular convolutions give `conversion/published/modes_<M>`.

        Raises:
            BenchError: the task is no classification, or the network has nothing to convert.
        """
        _check_task(self.kind, context)
        counts = self.modes or _shares(data.input_shape[1], (0.25, 0.5, 0.75, 1))
        split = _images_of(data.test, self.images)
        converted: dict[str, nn.Module] = {}
        reasons: list[str] = []
        for name, kind, count, cut in [
            *(
                (f"{_CONVERTED[cut]}/modes_{count}", Judged.spectral, count, cut)
                for cut in self.truncation
                for count in counts
            ),
            ("conversion/spatial", Judged.spatial, None, Truncation.exact),
        ]:
            try:
                converted[name] = _variant(network, kind, data, modes=count, cut=cut)
            except ValueError as error:
                reasons.append(str(error))
                if cut is Truncation.published:
                    say(f"note: evaluators=[conversion] leaves out {name}: {error}")
        if not converted:
            raise BenchError(
                f"evaluators=[conversion] has nothing to convert ({'; '.join(dict.fromkeys(reasons))}): "
                "use it with model=cnn_circular, fno or spectral_resnet18"
            )
        size = _scaled(data.input_shape, data.input_shape[1])
        return _accuracies(converted, split, context, size, Interpolation.trigonometric)


#: prefixes of the metrics of converted networks
_CONVERTED = {Truncation.exact: "conversion", Truncation.published: "conversion/published"}


def _variant(
    network: nn.Module,
    kind: Judged,
    data: Data,
    *,
    modes: int | None = None,
    cut: Truncation = Truncation.exact,
) -> nn.Module:
    """The network to be judged.

    Raises:
        ValueError: the network has no layers to convert, or they cannot be converted.
    """
    if kind is Judged.network:
        return network
    example = to_unit_interval(data.test.images[:1])
    if kind is Judged.spectral:
        converted = spectral_network(network, example, modes=modes, truncation=cut)
        if _count_spectral(converted) == _count_spectral(network):
            raise ValueError("it has no circular convolutions")
        return converted
    if kind is Judged.spatial:
        if not _count_spectral(network):
            raise ValueError("it has no spectral layers")
        return spatial_network(network, example)
    size = (data.input_shape[1], data.input_shape[2])
    return InputResize(network, size, Interpolation(kind))


def _count_spectral(network: nn.Module) -> int:
    return sum(isinstance(module, SpectralConv2d) for module in network.modules())


def _takes(network: nn.Module, data: Data, size: tuple[int, int], context: RunContext) -> bool:
    """Whether a network takes images of a size; networks with a linear layer of fixed width take one size."""
    black = torch.zeros(1, data.input_shape[0], *size, device=context.device)
    try:
        network(context.arrange(black))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError):
        return False
    return True


def _accuracies(
    networks: dict[_Name, nn.Module],
    split: Split,
    context: RunContext,
    size: tuple[int, int],
    interpolation: Interpolation,
) -> dict[_Name, float]:
    """Accuracy of each network on images resized to one size."""
    hits = {name: torch.zeros((), dtype=torch.int64, device=context.device) for name in networks}
    for images, labels in evaluation_batches(split, _BATCH):
        resized = context.arrange(resize_images(images, size, interpolation))
        for name, network in networks.items():
            with context.autocast():
                outputs = network(resized)
            hits[name] += context.task.scores(outputs, labels)["accuracy"]
    return {name: int(count) / len(split) for name, count in hits.items()}


def _images_of(split: Split, count: int | None) -> Split:
    return split if count is None else sample_of(split, count)


def _scaled(shape: tuple[int, int, int], height: int) -> tuple[int, int]:
    """A height, and the width with the aspect ratio of the images."""
    return height, max(1, round(height * shape[2] / shape[1]))


def _shares(height: int, shares: tuple[float, ...]) -> list[int]:
    return list(dict.fromkeys(max(1, round(share * height)) for share in shares))


def _check_task(kind: str, context: RunContext) -> None:
    if not isinstance(context.task, Classification):
        raise BenchError(
            f"evaluators=[{kind}] measures accuracy, and task={context.task.kind} has none: use it "
            "with task=classification"
        )
