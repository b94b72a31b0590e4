"""The traced graph of a network, with the channel spaces that its layers share.

A space is a set of tensors that must have the same channels: a convolution's output, the outputs of
norm layers and activations behind it, and all summands of a residual stream that it belongs to. The
removal of a channel changes every layer that produces, normalises or reads the space.
"""

from __future__ import annotations

from functools import cached_property

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dessilbi.channels import Space, is_altered
from dessilbi.layouts import Layout, Shape
from dessilbi.nodes import called_layer, is_addition
from dessilbi.probing import Example, Probe, run_shapes, trace
from dessilbi.spaces import Walk

__all__ = ["ChannelGraph", "Space"]

#: Reason for which channels stay where made-up inputs of several shapes give different spaces.
UNSURE = "what its channels are depends on the shape of the inputs: pass example="


class ChannelGraph:
    """The traced graph of a network and the space that each of its tensors belongs to.

    Operations that the graph does not understand (concatenation, grouped convolution, layers called
    twice, norms across channels) fix the spaces that they read or produce: the channels of these spaces
    stay. The network is traced in evaluation mode.

    Args:
        model: A network that `torch.fx` can trace.
        example: A batch of inputs, a tuple of inputs, or a `Probe`; with None inputs are made up when
            shapes are needed.

    Attributes:
        nodes: The graph's nodes in the order of evaluation.

    Raises:
        ValueError: The network cannot be traced, or layers compute their weights. Attributes that need
            shapes raise the errors of `Probe`, and an error if a value is changed in place and used
            later.
    """

    def __init__(self, model: nn.Module, example: Example | Probe | None = None) -> None:
        self.model = model
        self.nodes = trace(model)
        self._example = example

    @cached_property
    def probe(self) -> Probe:
        """The inputs for which the graph holds."""
        if isinstance(self._example, Probe):
            return self._example
        return Probe(self.model, self._example)

    @cached_property
    def shapes(self) -> list[dict[fx.Node, Shape]]:
        """For each batch of the probe the shape of every tensor."""
        return [run_shapes(self.model, self.nodes, inputs) for inputs in self.probe.inputs]

    @cached_property
    def _walk(self) -> Walk:
        """The walk with the first shapes; spaces that walks with other shapes lack are fixed."""
        walk, *others = [Walk(self.model, self.nodes, shapes) for shapes in self.shapes]
        for other in others:
            known = {space.signature() for space in _spaces_of(other) if space.fixed is None}
            for space in _spaces_of(walk):
                if space.signature() not in known:
                    space.fixed = space.fixed or UNSURE
        return walk

    @cached_property
    def spaces(self) -> list[Space]:
        """All spaces that some layer produces."""
        return _spaces_of(self._walk)

    def space(self, node: fx.Node) -> Space | None:
        """The space of a tensor; None for zeros left by a removed layer, and for sizes."""
        placed = self._walk.placed.get(node)
        return None if placed is None else placed.space

    def layout(self, node: fx.Node) -> Layout | None:
        """Where in a tensor its channels are; None for a tensor without known channels."""
        placed = self._walk.placed.get(node)
        return None if placed is None else placed.layout

    def keeps_zeros(self, node: fx.Node) -> bool:
        """Whether the node keeps all channels in their order and maps zero channels to zero channels."""
        return node in self._walk.kept

    def same_shape(self, first: fx.Node, second: fx.Node) -> bool:
        """Whether two tensors have one shape for all inputs of the probe."""
        return all(shapes.get(first) == shapes.get(second) for shapes in self.shapes)

    def layer(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls, or None."""
        return called_layer(self.model, node)

    def node_of(self, name: str) -> fx.Node:
        """The node that calls the layer of this name.

        Raises:
            ValueError: No layer of that name was called.
        """
        for node in self.nodes:
            if node.op == "call_module" and node.target == name:
                return node
        raise ValueError(f"no Linear or Conv layer called {name!r} was found in the traced graph")

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
        """Whether the node adds or subtracts two tensors of the graph."""
        return is_addition(node)

    def is_norm(self, node: fx.Node) -> bool:
        """Whether the node is a BatchNorm with scale and shift."""
        layer = self.layer(node)
        return isinstance(layer, _BatchNorm) and layer.affine

    def is_tensor(self, node: fx.Node) -> bool:
        """Whether the node is a tensor, and not a size."""
        return node in self._walk.placed

    def is_altered(self, node: fx.Node) -> bool:
        """Whether the layer of a node has hooks, so that it need not do what its class says."""
        layer = self.layer(node)
        return layer is not None and is_altered(layer)

    def is_shared(self, node: fx.Node) -> bool:
        """Whether the layer of a node is called twice, or its tensors are used outside of it."""
        return str(node.target) in self._walk.shared

    def norm_after(self, node: fx.Node) -> fx.Node | None:
        """The norm layer that is the only reader of a node's output, directly or behind activations."""
        while len(node.users) == 1:
            (node,) = node.users
            if self.is_norm(node):
                space = self.space(node)
                return node if space and str(node.target) in space.norms else None
            if self.is_addition(node) or not self.keeps_zeros(node):
                return None
        return None


def _spaces_of(walk: Walk) -> list[Space]:
    found = dict.fromkeys(placed.space for placed in walk.placed.values() if placed is not None)
    return [space for space in found if space.producers]
