"""Which rule bounds which type of module; anybody may register one for a type of their own."""

from __future__ import annotations

from torch import nn

from clip import activations, affine, convolution, pooling
from clip.composition import Rule

_RULES: dict[type[nn.Module], Rule] = {
    **activations.RULES,
    **affine.RULES,
    **convolution.RULES,
    **pooling.RULES,
}


def register_rule(module_type: type[nn.Module], rule: Rule) -> None:
    """Bound modules of a type by a rule, in place of an earlier rule or of tracing.

    Subclasses that inherit the forward are covered too. A rule is trusted: it must hold for all
    inputs in evaluation mode.

    Args:
        module_type: a class of modules.
        rule: called with the module, the shape of its input without the batch, and a callback that
            bounds a sub-module at a shape; returns a `clip.Bound`; see `clip.chain` and `clip.add`.

    Raises:
        TypeError: the type is not a class of modules.

    Example:
        >>> import torch
        >>> from clip import Bound, register_rule, upper_bound
        >>> class Halve(torch.nn.Module):
        ...     def forward(self, inputs):
        ...         return inputs / 2
        >>> register_rule(Halve, lambda module, shape, bound: Bound(0.5, shape))
        >>> upper_bound(Halve(), (3,))
        0.5
    """
    if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
        raise TypeError(f"expected a subclass of torch.nn.Module, got {module_type!r}")
    _RULES[module_type] = rule


def find_rule(module: nn.Module) -> Rule | None:
    """The rule of the module's type, or of the nearest base class whose forward it inherits."""
    if "forward" in vars(module):  # replaced on this object alone
        return None
    for kind in type(module).__mro__:
        if kind in _RULES and type(module).forward is kind.forward:
            return _RULES[kind]
    return None
