"""A user's own network, built by a function of theirs."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from bregbench.data.normalization import Normalization
from bregbench.foundations.errors import BenchError
from bregbench.foundations.factories import call, check_factory, source_digest
from bregbench.models.base import ModelConfig
from bregbench.models.normalize import Normalize
from bregman.modules import evaluating


@dataclass
class Custom(ModelConfig):
    """What `factory` returns, after the normalisation of the data set.

    The function may have parameters called ``input_shape`` (channels, height, width) and ``classes`` or
    ``num_classes`` (outputs): it gets them. It returns a `torch.nn.Module` that maps normalised images
    ``(batch, channels, height, width)`` to ``(batch, classes)``. Modules of the run's network:
    ``normalize``, then those of the returned network under their own names where it is an
    `nn.Sequential`, else the network as ``network``.

    Attributes:
        factory: ``package.module:function``, or a class; modules in the working directory count.
        arguments: of the function, a mapping by name; None for none.
    """

    kind: ClassVar[str] = "custom"

    factory: str = ""
    #: no dictionary, because Hydra would let nobody add a key to it
    arguments: Any = None

    def check(self, at: str) -> None:
        """See `ModelConfig.check`."""
        check_factory(self.factory, self.arguments, at)

    def source_digest(self) -> str | None:
        """SHA-256 of the file with the function, which is no part of the run's identity."""
        return source_digest(self.factory)

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        normalization: Normalization | None = None,
    ) -> nn.Sequential:
        """See `ModelConfig.build`.

        Raises:
            BenchError: the function is not found, fails or returns no network for these images.
        """
        offered = {"input_shape": input_shape, "classes": classes, "num_classes": classes}
        network = call(self.factory, self.arguments, offered, at="model")
        if not isinstance(network, nn.Module):
            raise BenchError(
                f"model.factory={self.factory} returned {type(network).__name__} and must return a "
                "torch.nn.Module: return the network itself"
            )
        self._refuse_outputs(network, input_shape, classes)
        first = Normalize(normalization or Normalization.identity(input_shape[0]))
        layers = OrderedDict[str, nn.Module](normalize=first)
        if type(network) is nn.Sequential and "normalize" not in dict(network.named_children()):
            return nn.Sequential(layers | dict(network.named_children()))
        return nn.Sequential(layers | {"network": network})

    def _refuse_outputs(
        self, network: nn.Module, input_shape: tuple[int, int, int], classes: int
    ) -> None:
        """Refuse a network that takes no such images; the task judges the shape of what comes out."""
        what = f"model.factory={self.factory}"
        parameter = next(network.parameters(), torch.zeros(0))
        try:
            with torch.no_grad(), evaluating(network):
                found = network(torch.zeros(1, *input_shape, device=parameter.device))
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else ""
            raise BenchError(
                f"{what}: the network takes no images of shape (1, {', '.join(map(str, input_shape))}): "
                f"{type(error).__name__}: {reason}; give the function a parameter input_shape (channels, "
                "height, width) and size the layers by it"
            ) from error
        if not isinstance(found, torch.Tensor):
            raise BenchError(
                f"{what}: the network answers with {type(found).__name__} and must answer with one tensor "
                f"(batch, {classes}): return the logits alone"
            )
