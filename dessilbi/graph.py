"""Which layers of a network share their channels: the traced graph, seen as channel spaces.

A space is a set of tensors that must have the same channels: a convolution's output, what norm
layers and activations make of it, and whatever it is added to on a residual stream. Removing or
adding a channel means changing every layer that produces, normalises or reads the space.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bregman.layers import WEIGHT_LAYERS
from dessilbi.nodes import (
    Nothing,
    PaddedShortcut,
    Tracer,
    called_layer,
    gives_size,
    is_addition,
    preserves_zero,
)
from dessilbi.resizing import input_channels, output_channels


@dataclass(eq=False)
class Space:
    """One set of channels.

    Attributes:
        channels: How many there are; 0 where it does not matter.
        producers: Names of the Linear and Conv layers whose outputs they are.
        norms: Names of the BatchNorm layers in between.
        readers: Names of the Linear and Conv layers that read them.
        shortcuts: Names of the `PaddedShortcut` layers that end in it.
        fixed: Why channels cannot be removed, or None.
        rigid: Why channels cannot be added, or None.
    """

    channels: int = 0
    producers: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    shortcuts: list[str] = field(default_factory=list)
    fixed: str | None = None
    rigid: str | None = None


class ChannelGraph:
    """The traced graph of a network and the space that each of its tensors belongs to.

    Layers that the graph does not understand (concatenation, grouped convolution, layers called
    twice, norms across channels) fix the spaces that they touch, so that nothing is changed there.

    Args:
        model: A network that `torch.fx` can trace.

    Attributes:
        nodes: The graph's nodes in the order of evaluation.
        spaces: All spaces that some layer produces.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.nodes = list(Tracer().trace(model).nodes)
        self._space: dict[fx.Node, Space | None] = {}
        self._called: set[str] = set()
        for node in self.nodes:
            self._space[node] = self._follow(node)
        self.spaces = [s for s in dict.fromkeys(self._space.values()) if s and s.producers]

    def space(self, node: fx.Node) -> Space | None:
        """The space of a tensor; None for zeros left by a removed layer, and for sizes."""
        return self._space[node]

    def layer(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls, or None."""
        return called_layer(self.model, node)

    def space_of(self, name: str) -> Space:
        """The space that the layer of this name produces.

        Raises:
            ValueError: No Linear or Conv layer of that name was called.
        """
        for space in self.spaces:
            if name in space.producers:
                return space
        raise ValueError(f"no Linear or Conv layer called {name!r} was found in the traced graph")

    def is_addition(self, node: fx.Node) -> bool:
        """Whether the node adds two tensors of the graph."""
        return is_addition(node)

    def is_norm(self, node: fx.Node) -> bool:
        """Whether the node is a BatchNorm with scale and shift."""
        layer = self.layer(node)
        return isinstance(layer, _BatchNorm) and layer.affine

    def norm_after(self, node: fx.Node) -> fx.Node | None:
        """The norm layer that alone receives the output of a node, activations passed over."""
        while len(node.users) == 1:
            (node,) = node.users
            if self.is_norm(node):
                space = self._space[node]
                return node if space and str(node.target) in space.norms else None
            if not preserves_zero(self.model, node):
                return None
        return None

    def _follow(self, node: fx.Node) -> Space | None:
        inputs = [self._space[source] for source in node.all_input_nodes]
        if node.op in ("placeholder", "get_attr"):
            return self._fix([], "an input of the network")
        if node.op == "output":
            return self._fix(inputs, "an output of the network")
        if node.op == "call_module":
            return self._follow_module(node, inputs)
        if preserves_zero(self.model, node) or is_addition(node):
            return self._union(inputs)
        if gives_size(node):
            return None
        return self._fix(inputs, f"read by {node.target}, which removal does not understand")

    def _follow_module(self, node: fx.Node, inputs: list[Space | None]) -> Space | None:
        name, layer = str(node.target), self.layer(node)
        if preserves_zero(self.model, node):
            return self._union(inputs)
        if isinstance(layer, Nothing):
            return None
        if isinstance(layer, PaddedShortcut):
            reason = f"read or made by {name!r}, which aligns channels by their position"
            self._fix(inputs, reason, rigid=False)
            return Space(layer.outputs, shortcuts=[name], fixed=reason)
        repeated = name in self._called
        self._called.add(name)
        if isinstance(layer, WEIGHT_LAYERS):
            return self._follow_weight(name, layer, inputs[0], repeated)
        if isinstance(layer, _BatchNorm) and self.is_norm(node) and not repeated:
            source = inputs[0]
            if source is not None and source.channels in (0, layer.num_features):
                source.norms.append(name)
                return source
        return self._fix(inputs, f"read by {name!r}, a {type(layer).__name__}")

    def _follow_weight(
        self, name: str, layer: nn.Module, source: Space | None, repeated: bool
    ) -> Space:
        if repeated:
            earlier = self._producer(name)
            self._fix([source, earlier], f"{name!r} is called more than once")
            return earlier
        target = Space(output_channels(layer), producers=[name])
        if source is not None:
            source.readers.append(name)
            if not source.producers:
                source.channels = source.channels or input_channels(layer)
            elif input_channels(layer) % source.channels:
                self._fix([source], f"{name!r} does not read whole channels")
        if getattr(layer, "groups", 1) != 1:
            self._fix([source, target], f"{name!r} is a grouped convolution")
        return target

    def _producer(self, name: str) -> Space:
        return next(s for s in self._space.values() if s is not None and name in s.producers)

    def _union(self, spaces: list[Space | None]) -> Space | None:
        """One space in place of several; zeros of removed layers join any."""
        first, *others = list(dict.fromkeys(s for s in spaces if s is not None)) or [None]
        if first is None:
            return None
        for other in others:
            assert other is not None
            if first.channels and other.channels and first.channels != other.channels:
                self._fix([first, other], "added to a tensor with other channels")
                continue
            first.channels = first.channels or other.channels
            first.fixed = first.fixed or other.fixed
            first.rigid = first.rigid or other.rigid
            first.shortcuts += other.shortcuts
            first.producers += other.producers
            first.norms += other.norms
            first.readers += other.readers
            for node, space in self._space.items():
                if space is other:
                    self._space[node] = first
        return first

    def _fix(self, spaces: Iterable[Space | None], reason: str, *, rigid: bool = True) -> Space:
        for space in spaces:
            if space is not None:
                space.fixed = space.fixed or reason
                space.rigid = space.rigid or (reason if rigid else None)
        return Space(fixed=reason, rigid=reason)
