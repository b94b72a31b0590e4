"""Spaces: sets of channels, with the layers that produce, normalise and read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import fx, nn

from dessilbi.nodes import called_layer


@dataclass(eq=False)
class Space:
    """One set of channels.

    Attributes:
        channels: Number of channels; 0 for a space that no layer produces.
        producers: Names of the Linear and Conv layers whose outputs the channels are.
        norms: Names of the BatchNorm layers that normalise the channels.
        readers: Names of the Linear and Conv layers that read the channels, each with the number of
            times that the sequence of all channels repeats in its input (1 but behind some flattenings).
        shortcuts: Names of the `PaddedShortcut` layers whose outputs belong to the space.
        fixed: Why channels cannot be removed, or None.
        rigid: Why channels cannot be added, or None.
    """

    channels: int = 0
    producers: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    readers: dict[str, int] = field(default_factory=dict)
    shortcuts: list[str] = field(default_factory=list)
    fixed: str | None = None
    rigid: str | None = None

    def fix(self, reason: str, *, rigid: bool = True) -> None:
        """Note why channels cannot be removed and, if `rigid`, added; the first reason is kept."""
        self.fixed = self.fixed or reason
        self.rigid = self.rigid or (reason if rigid else None)

    def signature(self) -> tuple[frozenset[str], frozenset[str], frozenset[tuple[str, int]]]:
        """Producers, norms and readers, by which spaces of two walks through a network compare."""
        return frozenset(self.producers), frozenset(self.norms), frozenset(self.readers.items())


def own_axis(layer: nn.Module, rank: int) -> int:
    """The axis of its inputs and outputs that a Linear or Conv layer mixes."""
    return rank - 1 if isinstance(layer, nn.Linear) else rank - 1 - len(layer.kernel_size)  # pyright: ignore[reportArgumentType]


def is_altered(layer: nn.Module) -> bool:
    """Whether a call of a layer does more than its class says: it has hooks or its own `forward`."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks or "forward" in layer.__dict__)


def shared_layers(model: nn.Module, nodes: Iterable[fx.Node]) -> set[str]:
    """Names of layers that are called twice, or whose tensors are used outside of the layer."""
    calls: Counter[nn.Module] = Counter()
    names: dict[nn.Module, str] = {}
    read: set[int] = set()
    for node in nodes:
        layer = called_layer(model, node)
        if layer is not None:
            calls[layer] += 1
            names[layer] = str(node.target)
        elif node.op == "get_attr":
            owner, _, name = str(node.target).rpartition(".")
            read.add(id(getattr(model.get_submodule(owner), name)))
    return {
        names[layer]
        for layer, count in calls.items()
        if count > 1 or any(id(tensor) in read for tensor in _tensors(layer))
    }


def _tensors(layer: nn.Module) -> list[torch.Tensor]:
    return [*layer.parameters(), *layer.buffers()]
