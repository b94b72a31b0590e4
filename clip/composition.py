"""Bounds of layers and their composition, of which rules for modules are built.

A bound is a number L with |f(x) - f(y)| <= L |x - y| for all x and y (Euclidean norms). Along a
chain bounds multiply, over branches that are added they add.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import nn

#: Shape of one input, without the batch.
Shape = tuple[int, ...]


class Bound(NamedTuple):
    """A Lipschitz constant of a layer, and the shape of its output.

    Attributes:
        value: the layer is Lipschitz with this constant, in the Euclidean norms of its input and
            output.
        shape: shape of the output for one input, without the batch.
    """

    value: float
    shape: Shape


#: Callback of a rule that bounds a sub-module at an input shape.
BoundOf = Callable[[nn.Module, Shape], Bound]
#: Bounds one type of module: from the module, the input shape and the callback for sub-modules.
#: A rule raises ValueError where it knows no bound; the caller adds the module's name and type.
Rule = Callable[[nn.Module, Shape, BoundOf], Bound]


class BoundError(ValueError):
    """A network cannot be bounded, or two bounds contradict each other."""


def chain(modules: Iterable[nn.Module], start: Shape | Bound, bound: BoundOf) -> Bound:
    """Bound modules that are applied one after the other: the product of their bounds.

    Args:
        modules: in the order of application; none at all is the identity.
        start: input shape of the first module, without the batch, or the bound of the layers before.
        bound: the callback that the calling rule was given.
    """
    total, shape = start if isinstance(start, Bound) else (1.0, start)
    for module in modules:
        value, shape = bound(module, shape)
        total *= value
    return Bound(total, shape)


def add(*branches: Bound) -> Bound:
    """Bound a sum of branches with the same input, a residual block for instance.

    Args:
        branches: at least one; the identity skip is ``Bound(1.0, shape)``.

    Raises:
        ValueError: outputs differ in shape, so that their sum would broadcast.

    Example:
        A rule for a residual block::

            def residual_rule(block, shape, bound):
                branch = chain([block.conv1, block.norm1, block.relu1, block.conv2], shape, bound)
                skip = bound(block.shortcut, shape)
                return chain([block.relu2], add(branch, skip), bound)
    """
    shapes = {branch.shape for branch in branches}
    if len(shapes) != 1:
        raise ValueError(f"branches must have one output shape to be added, got {sorted(shapes)}")
    return Bound(sum(branch.value for branch in branches), shapes.pop())
