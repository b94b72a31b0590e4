"""Channel spaces: which tensors of a traced network must have the same channels.

The walk goes through the nodes in the order of evaluation, with the actual shape of each tensor. A node
that the walk does not understand fixes the spaces of its inputs, so that their channels stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bregman.layers import WEIGHT_LAYERS
from dessilbi.channels import Space, is_altered, own_axis, shared_layers
from dessilbi.layouts import Layout, Move, Shape, moved
from dessilbi.nodes import (
    Nothing,
    PaddedShortcut,
    called_layer,
    computes_as_torch,
    gives_size,
    summands,
)
from dessilbi.resizing import input_channels, output_channels


@dataclass
class Placed:
    """The space of a tensor, and the layout of its channels (None: not known)."""

    space: Space
    layout: Layout | None = None


class Walk:
    """One walk through a graph with given shapes.

    Args:
        model: The network whose modules the nodes call.
        nodes: The graph's nodes in the order of evaluation.
        shapes: The shape of every node that is a tensor.

    Attributes:
        placed: For every tensor its space and layout; None for zeros that a removed layer leaves.
        kept: Nodes that map zero channels to zero channels and keep all channels.
    """

    def __init__(
        self, model: nn.Module, nodes: Sequence[fx.Node], shapes: Mapping[fx.Node, Shape]
    ) -> None:
        self.model = model
        self.shapes = shapes
        self.placed: dict[fx.Node, Placed | None] = {}
        self.kept: set[fx.Node] = set()
        self._sized: dict[fx.Node, list[tuple[fx.Node, int | None]]] = {}
        self._targets: dict[str, Space] = {}
        self.shared = shared_layers(model, nodes)
        for node in nodes:
            self._visit(node)

    def _visit(self, node: fx.Node) -> None:
        if gives_size(node):
            self._sized[node] = self._size_of(node)
        elif node not in self.shapes and self._only_sizes(node):
            self._sized[node] = [s for n in node.all_input_nodes for s in self._sized[n]]
        else:
            self.placed[node] = self._place(node)

    def _size_of(self, node: fx.Node) -> list[tuple[fx.Node, int | None]]:
        """The tensors and axes (None: all axes) whose size a node gives."""
        source = node.all_input_nodes[0]
        known = self._sized.get(source)
        if known is None:
            axis = node.args[1] if node.target == "size" and len(node.args) == 2 else None
            rank = len(self.shapes.get(source, ()))
            return [(source, axis % rank if isinstance(axis, int) and rank else None)]
        index = node.args[1] if len(node.args) == 2 else None
        if isinstance(index, int) and len(known) == 1 and known[0][1] is None:
            return [(known[0][0], index % len(self.shapes[known[0][0]]))]
        return known

    def _only_sizes(self, node: fx.Node) -> bool:
        called = node.op in ("call_function", "call_method")
        inputs = node.all_input_nodes
        return called and bool(inputs) and all(source in self._sized for source in inputs)

    def _place(self, node: fx.Node) -> Placed | None:
        if node.op in ("placeholder", "get_attr"):
            return self._opaque(node, "an input of the network, or a tensor of its own")
        if node.op == "output":
            return self._opaque(node, "an output of the network")
        layer = called_layer(self.model, node)
        name = str(node.target)
        if isinstance(layer, WEIGHT_LAYERS):
            return self._weight(node, name, layer)
        if layer is not None and is_altered(layer):
            return self._opaque(node, f"read by {name!r}, which has hooks")
        sums = summands(node)
        if sums is not None:
            return self._union(node, sums[0].node, sums[1].node)
        tensors = [source for source in node.all_input_nodes if source in self.placed]
        if len(tensors) == 1:
            if isinstance(layer, Nothing):
                return None
            if isinstance(layer, PaddedShortcut):
                return self._padded(name, layer, tensors[0])
            if isinstance(layer, _BatchNorm):
                return self._norm(node, name, layer, tensors[0])
            return self._move(node, layer, tensors[0])
        return self._opaque(node, self._misunderstood(node, layer))

    def _weight(self, node: fx.Node, name: str, layer: nn.Module) -> Placed:
        target = self._targets.setdefault(name, Space(output_channels(layer), producers=[name]))
        inputs = node.all_input_nodes
        reason = None
        if name in self.shared:
            reason = f"{name!r} is called more than once, or its weight is read elsewhere"
        elif is_altered(layer):
            reason = f"{name!r} has hooks"
        elif len(inputs) != 1 or len(node.args) + len(node.kwargs) != 1:
            reason = f"{name!r} is called with more than one argument"
        elif getattr(layer, "groups", 1) != 1:
            reason = f"{name!r} is a grouped convolution"
        if reason is not None:
            self._fix(inputs, reason)
            target.fix(reason)
        elif not self._reads(layer, name, inputs[0]):
            self._fix(inputs, f"{name!r} does not read whole channels")
        axis = own_axis(layer, len(self.shapes[node]))
        return Placed(target, Layout(axis))

    def _reads(self, layer: nn.Module, name: str, source: fx.Node) -> bool:
        """Note a layer as a reader of all channels; False if its input does not hold whole channels."""
        placed = self.placed[source]
        if placed is None:
            return True
        layout, shape = placed.layout, self.shapes[source]
        if layout is None or layout.axis != own_axis(layer, len(shape)):
            return False
        if shape[layout.axis] != input_channels(layer):
            return False
        placed.space.readers[name] = layout.outer
        if layout.outer != 1:
            reason = f"{name!r} reads them behind a flattening that puts other axes in front"
            placed.space.rigid = placed.space.rigid or reason
        return True

    def _norm(self, node: fx.Node, name: str, layer: _BatchNorm, source: fx.Node) -> Placed | None:
        placed = self.placed[source]
        if placed is None:
            return self._opaque(node, f"read by {name!r}")
        layout, space = placed.layout, placed.space
        fits = layout is not None and layout.plain and layout.axis == 1
        if name in self.shared:
            reason = f"{name!r} is called more than once, or its scale is read elsewhere"
        elif not layer.affine or not computes_as_torch(layer):
            reason = (
                f"read by {name!r}, a {type(layer).__name__} without scale and shift of its own"
            )
        elif not fits or space.channels != layer.num_features:
            reason = f"read by {name!r}, which normalises another axis than that of the channels"
        else:
            space.norms.append(name)
            return Placed(space, layout)
        return self._opaque(node, reason)

    def _padded(self, name: str, layer: PaddedShortcut, source: fx.Node) -> Placed:
        reason = f"read or made by {name!r}, which aligns channels by their position"
        placed = self.placed[source]
        if placed is not None:
            sound = placed.layout == Layout(1) and len(self.shapes[source]) == 4
            placed.space.fix(reason, rigid=not sound)
        return Placed(Space(layer.outputs, shortcuts=[name], fixed=reason), Layout(1))

    def _move(self, node: fx.Node, layer: nn.Module | None, source: fx.Node) -> Placed | None:
        placed, after = self.placed[source], self.shapes.get(node)
        space = Space() if placed is None else placed.space
        layout = Layout(0) if placed is None else placed.layout
        if after is None or layout is None:
            return self._opaque(node, self._misunderstood(node, layer))
        sizes = [n for n in node.all_input_nodes if n in self._sized]
        own = frozenset(n for n in sizes if self._is_channels(n, space))
        move = Move(layout, space.channels, self.shapes[source], after, own)
        found = moved(layer, node, move)
        if found is None:
            return self._opaque(node, self._misunderstood(node, layer))
        used = [n for n in sizes if n not in own or not found.plain]
        self._fix(used, f"their number is used by {node.name!r}")
        self.kept.add(node)
        return None if placed is None else Placed(space, found)

    def _is_channels(self, size: fx.Node, space: Space) -> bool:
        known = self._sized[size]
        if len(known) != 1 or not gives_size(size):
            return False
        source, axis = known[0]
        placed = self.placed.get(source)
        if placed is None or placed.space is not space or placed.layout is None:
            return False
        return placed.layout.plain and placed.layout.axis == axis

    def _union(self, node: fx.Node, first: fx.Node, second: fx.Node) -> Placed | None:
        """Merge the spaces of two summands; zeros of removed layers fit any space."""
        if first not in self.placed or second not in self.placed:
            return self._opaque(node, self._misunderstood(node, None))
        pair = [self.placed[first], self.placed[second]]
        present = [(n, p) for n, p in zip((first, second), pair, strict=True) if p is not None]
        after = self.shapes.get(node)
        if not present:
            self.kept.add(node)
            return None
        if len(present) == 1:
            source, placed = present[0]
            if self.shapes[source] == after:
                self.kept.add(node)
                return placed
            return self._opaque(node, "added to another shape")
        one, other = pair
        assert one is not None
        assert other is not None
        if after is None or not self._aligned(first, second, after):
            return self._opaque(node, "added to a tensor with other channels")
        self.kept.add(node)
        self._merge(one.space, other.space)
        assert one.layout is not None
        back = one.layout.axis - len(self.shapes[first])
        return Placed(one.space, Layout(back + len(after), one.layout.outer, one.layout.inner))

    def _aligned(self, first: fx.Node, second: fx.Node, after: Shape) -> bool:
        """Whether channel c of one summand is added to channel c of the other, under broadcasting."""
        found = []
        for node in (first, second):
            placed, shape = self.placed[node], self.shapes[node]
            if placed is None or placed.layout is None or not placed.space.channels:
                return False
            layout = placed.layout
            back = layout.axis - len(shape)
            if shape[layout.axis] != after[back]:
                return False
            found.append((back, layout.outer, layout.inner, placed.space.channels))
        return found[0] == found[1]

    def _merge(self, into: Space, other: Space) -> None:
        if into is other:
            return
        into.fixed = into.fixed or other.fixed
        into.rigid = into.rigid or other.rigid
        into.shortcuts += other.shortcuts
        into.producers += other.producers
        into.norms += other.norms
        into.readers |= other.readers
        for placed in self.placed.values():
            if placed is not None and placed.space is other:
                placed.space = into
        for name, space in self._targets.items():
            if space is other:
                self._targets[name] = into

    def _opaque(self, node: fx.Node, reason: str) -> Placed:
        self._fix(node.all_input_nodes, reason)
        return Placed(Space(fixed=reason, rigid=reason))

    def _fix(self, nodes: Iterable[fx.Node], reason: str) -> None:
        for node in nodes:
            for source, axis in self._sized.get(node, [(node, None)]):
                placed = self.placed.get(source)
                if placed is None:
                    continue
                layout = placed.layout
                if source is node or layout is None or axis in (None, layout.axis):
                    placed.space.fix(reason)

    def _misunderstood(self, node: fx.Node, layer: nn.Module | None) -> str:
        if layer is not None:
            return f"read by {str(node.target)!r}, a {type(layer).__name__}"
        name = getattr(node.target, "__name__", node.target)
        return f"read by {name!s}, which removal does not understand here"
