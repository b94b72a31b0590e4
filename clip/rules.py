"""Which rule bounds which type of module; anybody may register one for a type of their own."""

from __future__ import annotations

from typing import Any

from torch import nn

from clip import activations, affine, convolution, pooling
from clip.composition import Bound, BoundOf, Rule, Shape
from clip.hooks import prepare_hooks

_RULES: dict[type[nn.Module], Rule] = {
    **activations.RULES,
    **affine.RULES,
    **convolution.RULES,
    **pooling.RULES,
}
_ACCEPTED: set[type[nn.Module]] = set()
#: What a subclass may replace without changing what it computes once it is built.
_HARMLESS = frozenset(
    {
        "__init__",
        "__new__",
        "__init_subclass__",
        "__doc__",
        "__module__",
        "__qualname__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__dict__",
        "__weakref__",
        "__slots__",
        "__constants__",
        "__firstlineno__",
        "__static_attributes__",
        "__parameters__",
        "__orig_bases__",
        "__type_params__",
        "__abstractmethods__",
        "_abc_impl",
        "__repr__",
        "__str__",
        "__eq__",
        "__hash__",
        "__dir__",
        "__getstate__",
        "__setstate__",
        "__reduce__",
        "__reduce_ex__",
        "__deepcopy__",
        "__copy__",
        "_version",
        "_get_name",
        "extra_repr",
        "reset_parameters",
        "_load_from_state_dict",
        "_save_to_state_dict",
        "state_dict",
        "load_state_dict",
        "get_extra_state",
        "set_extra_state",
    }
)


def register_rule(module_type: type[nn.Module], rule: Rule) -> None:
    """Bound modules of a type by a rule, in place of an earlier rule or of tracing.

    Subclasses that override nothing of the type are covered too, and those that `accept_subclass`
    names. A rule is trusted: it must hold for all inputs in evaluation mode. A type of one's own needs
    no registration if it has a method `lipschitz_bound(shape)`, which gets the shape of an input and
    returns the constant and the shape of the output, both without the batch.

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


def accept_subclass(module_type: type[nn.Module]) -> None:
    """Bound a subclass by its base's rule, although it overrides methods.

    For classes that compute the same map in another way. A class may say so itself, without `clip`:
    with ``computes_like_base = True`` in its own body (subclasses of it have to say it again).

    Args:
        module_type: a class of modules; must compute, for all inputs in evaluation mode, what its
            base computes with the same parameters.

    Raises:
        TypeError: the type is not a class of modules.
    """
    if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
        raise TypeError(f"expected a subclass of torch.nn.Module, got {module_type!r}")
    _ACCEPTED.add(module_type)


def find_rule(module: nn.Module) -> Rule | None:
    """The rule of the module's type, or of a base class whose map it keeps.

    The nearest class in the order of inheritance counts that has a rule (`register_rule`) or that says
    its bound itself, with a method `lipschitz_bound(shape)`; of a class that has both, the rule. Either
    holds if no other class, and nothing set on the object itself, replaces an attribute of that class
    that may compute: `forward`, `_conv_forward`, `__call__`, the iteration over a container, and so on.
    """
    base = ruled_base(module)
    if base is None or replaced_methods(module) or overridden(type(module), base):
        return None
    return _RULES.get(base, _own_answer)


def _own_answer(module: nn.Module, shape: Shape, bound: BoundOf) -> Bound:
    """What a layer says of itself, if its parts are what the layer takes them for."""
    for name, part in module.named_modules():
        # Of parametrisations only the present value counts, not how they come by it.
        if part is not module and "parametrizations" not in name.split("."):
            _check_part(name, part)
    answer: Any = module.lipschitz_bound(shape)  # type: ignore[operator]
    try:
        value, output = answer
        return Bound(float(value), tuple(int(side) for side in output))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"lipschitz_bound returned {answer!r}, not a number and the shape of the output"
        ) from error


def _check_part(name: str, part: nn.Module) -> None:
    replaced = replaced_methods(part)
    if replaced:
        raise ValueError(f"{', '.join(replaced)} was replaced on its part {name!r}: bound unknown")
    base = ruled_base(part)
    names = [] if base is None else overridden(type(part), base)
    if base is not None and names:
        raise ValueError(
            f"its part {name!r} ({type(part).__name__}) overrides {', '.join(names)} of {base.__name__}: "
            "bound unknown (or clip.accept_subclass, if it computes what its base does)"
        )
    try:
        prepare_hooks(part)
    except ValueError as error:
        raise ValueError(f"its part {name!r} {error}") from error


def replaced_methods(module: nn.Module) -> list[str]:
    """Names of methods that were replaced on this object alone."""
    return [
        name
        for name, value in vars(module).items()
        if callable(value) and callable(getattr(type(module), name, None))
    ]


def overridden(kind: type, base: type) -> list[str]:
    """Attributes of a base class that a class, or another base of it, replaces; the harmless apart."""
    others = [other for other in kind.__mro__ if other not in base.__mro__]
    return sorted(
        {
            name
            for other in others
            if not _says_same(other)
            for name in vars(other)
            if hasattr(base, name) and name not in _HARMLESS
        }
    )


def ruled_base(module: nn.Module) -> type | None:
    """The nearest class with a rule or an answer of its own, whether or not it holds for the module."""
    return next((kind for kind in type(module).__mro__ if _has_rule(kind)), None)


def _has_rule(kind: type) -> bool:
    answers = issubclass(kind, nn.Module) and callable(vars(kind).get("lipschitz_bound"))
    return kind in _RULES or answers


def _says_same(kind: Any) -> bool:
    return kind in _ACCEPTED or vars(kind).get("computes_like_base") is True
