"""Active units: the channels that a step needs for the exact loss and gradient of all others.

A channel may be left out of a step when every layer that reads the channel has no weight on it, or sees
a constant there, which is added to the layer's output instead. A step does not train channels that it
leaves out, so that their constants and their zero weights do not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bregman.groups import group_dims
from bregman.l12 import L12
from bregman.optimizer import group_penalty, state_dtype
from dessilbi.constants import Seen, columns_of, constant_channels, own_layers, reads_evenly
from dessilbi.graph import ChannelGraph, Space
from dessilbi.resizing import by_input, output_axis, weight_of

#: For each space of a network a bool tensor `(channels,)`, True at the channels that stay.
Kept = dict[Space, Tensor]
Values = dict[fx.Node, Tensor]


@dataclass(frozen=True)
class Reader:
    """A layer that reads the channels of a space.

    Attributes:
        name: Name of the layer.
        layer: The layer.
        node: The node that calls the layer.
        source: The node whose channels the layer reads.
        outer: Number of times that the sequence of all channels repeats in the layer's input.
        target: The space that the layer produces.
    """

    name: str
    layer: nn.Module
    node: fx.Node
    source: fx.Node
    outer: int
    target: Space


class ActiveUnits:
    """Chooses which channels of a network stay in a step with a penalised optimiser.

    Args:
        graph: Graph of the network.
        groups: For each parameter that is trained, its group in the optimiser.

    Attributes:
        spaces: The spaces of which channels may be left out.
        readers: For each of these spaces, the layers that read it.
        sources: For each norm layer of these spaces, by name, the node that the layer normalises.
    """

    def __init__(self, graph: ChannelGraph, groups: Mapping[Tensor, dict[str, Any]]) -> None:
        self.graph = graph
        self._axes = {param: _coupled_axes(param, group) for param, group in groups.items()}
        self._whole = {p for p, group in groups.items() if group["penalty"] == "nuclear"}
        own = own_layers(graph)
        self.spaces = [space for space in graph.spaces if self._divisible(space, own)]
        self.readers = {s: [self._reader(*pair) for pair in s.readers.items()] for s in self.spaces}
        self._unsteady = {space for space in self.spaces if self._is_unsteady(space)}
        norms = [name for space in self.spaces for name in space.norms]
        self.sources = {name: graph.node_of(name).all_input_nodes[0] for name in norms}

    @torch.no_grad()
    def choose(self, state: Mapping[Tensor, dict[str, Any]]) -> tuple[Kept, Values]:
        """The channels that have to stay, at least one of each space, and their `constants`.

        Args:
            state: State of the optimiser. A penalty group that spans several inputs may bring back every
                weight whose dual is not zero.
        """
        seen: Seen = {}
        reads = {
            reader.name: self._reads(space, reader, state, seen)
            for space in self.spaces
            for reader in self.readers[space]
        }
        live = {space: torch.zeros(space.channels, dtype=torch.bool) for space in self.spaces}
        while True:
            values = self.constants(live, seen)
            kept = self._needed(reads, values)
            if not self._trained_constants(kept, values):
                return kept, self.constants(kept, seen) if _any(live) else values
            live = {space: live[space] | kept[space] for space in self.spaces}

    @torch.no_grad()
    def constants(self, kept: Kept, seen: Seen | None = None) -> Values:
        """Values of the channels that are constant in training although the kept channels change."""
        everywhere = torch.tensor(True)
        live = {
            space: everywhere if space in self._unsteady else kept.get(space, everywhere)
            for space in self.graph.spaces
        }
        return constant_channels(self.graph, training=True, live=live, seen=seen)

    def _trained_constants(self, kept: Kept, values: Values) -> bool:
        """Whether a kept channel has a value in `values`, although training may change it."""
        spaces = {node: self.graph.space(node) for node in values}
        return any(
            bool((kept[space].to(values[node].device) & ~values[node].isnan()).any())
            for node, space in spaces.items()
            if space in kept
        )

    def _needed(self, reads: dict[str, Tensor], values: Values) -> Kept:
        """Start with all channels and drop those that no kept channel reads, until none is dropped."""
        kept = {space: torch.ones(space.channels, dtype=torch.bool) for space in self.spaces}
        changed = True
        while changed:
            changed = False
            for space in self.spaces:
                needed = torch.zeros(space.channels, dtype=torch.bool)
                for reader in self.readers[space]:
                    rows = reads[reader.name]
                    if reader.target in kept:
                        rows = rows[kept[reader.target]]
                    needed |= rows.any(dim=0) & ~_harmless(reader, values)
                needed &= kept[space]
                if not needed.any():  # torch has no layers with 0 channels
                    needed[kept[space].nonzero()[0]] = True
                if not torch.equal(needed, kept[space]):
                    changed = True
                    kept[space] = needed
        return kept

    def _reads(
        self, space: Space, reader: Reader, state: Mapping[Tensor, dict[str, Any]], seen: Seen
    ) -> Tensor:
        """Bool `(outputs, channels)`: whether an output has, or may get, a weight on a channel."""
        weight = weight_of(reader.layer)
        if 1 - output_axis(reader.layer) not in self._axes.get(weight, ()):
            return columns_of(self.graph, reader.node, seen).nonzero.cpu()
        dual = state.get(weight, {}).get("dual", torch.ones_like(weight))
        columns = by_input(reader.layer, space.channels, reader.outer, dual)
        return (columns != 0).flatten(2).any(dim=2).cpu()

    def _is_unsteady(self, space: Space) -> bool:
        """Whether a penalty group spans several units of the space, so that units may get weights."""
        layers = [self.graph.model.get_submodule(name) for name in space.producers]
        axes = [(output_axis(layer), self._axes.get(weight_of(layer), ())) for layer in layers]
        return any(own in coupled for own, coupled in axes)

    def _divisible(self, space: Space, own: set[nn.Module]) -> bool:
        names = (*space.producers, *space.norms, *space.readers)
        layers = [self.graph.model.get_submodule(name) for name in names]
        return (
            space.fixed is None
            and bool(space.readers)
            and own.issuperset(layers)
            and all(self._sliceable(layer) for layer in layers)
        )

    def _sliceable(self, layer: nn.Module) -> bool:
        """Whether the prox of a layer's penalties can be computed for a part of its parameters."""
        for name, param in layer.named_parameters(recurse=False):
            vector = name == "bias" or isinstance(layer, _BatchNorm)
            narrow = param.dtype != state_dtype(param)
            if param in self._whole or (self._axes.get(param) and (vector or narrow)):
                return False
        return True

    def _reader(self, name: str, outer: int) -> Reader:
        node = self.graph.node_of(name)
        layer = self.graph.model.get_submodule(name)
        return Reader(name, layer, node, node.all_input_nodes[0], outer, self.graph.space_of(name))


def _coupled_axes(param: Tensor, group: dict[str, Any]) -> tuple[int, ...]:
    """Axes of a parameter along which its penalty couples entries."""
    penalty = group_penalty(group)
    return group_dims(penalty.group, param.shape) if isinstance(penalty, L12) else ()


def _any(kept: Kept) -> bool:
    return any(bool(mask.any()) for mask in kept.values())


def _harmless(reader: Reader, values: Values) -> Tensor:
    """True at constant channels whose contribution can be added to the reader's output instead."""
    value = values.get(reader.source)
    if value is None:
        return torch.tensor(False)
    return (~value.isnan() if reads_evenly(reader.layer) else value == 0).cpu()
