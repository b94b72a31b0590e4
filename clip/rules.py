"""Rules that bound modules, by type; users may register rules for types of their own."""

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
#: Attributes that a subclass may replace without a change of its forward pass.
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

    The rule also covers subclasses that override no method of the type, and subclasses that
    `accept_subclass` names. A rule is not checked: it must hold for all inputs in evaluation mode. A type
    with a method `lipschitz_bound(shape)` needs no registration; the method gets the shape of an input and
    returns the constant and the shape of the output, both without the batch.

    Args:
        module_type: a class of modules.
        rule: function of the module, the shape of its input without the batch, and a callback that
            bounds a sub-module at a shape. The function returns a `clip.Bound`; see `clip.chain` and
            `clip.add`.

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

    The function serves classes that compute the map of their base in another way. A class may also
    declare ``computes_like_base = True`` in its own body, without `clip`; subclasses do not inherit the
    declaration.

    Args:
        module_type: a class of modules. For all inputs in evaluation mode it must compute what its base
            computes with the same parameters.

    Raises:
        TypeError: the type is not a class of modules.
    """
    if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
        raise TypeError(f"expected a subclass of torch.nn.Module, got {module_type!r}")
    _ACCEPTED.add(module_type)


def find_rule(module: nn.Module) -> Rule | None:
    """The rule of the module's type, or of a base class whose map it keeps.

    The base is the nearest class, in the order of inheritance, with a rule (`register_rule`) or with a
    method `lipschitz_bound(shape)`; a rule precedes the method. The base's bound holds if neither another
    class nor the object itself replaces an attribute of the base that may take part in the computation:
    `forward`, `_conv_forward`, `__call__`, the iteration over a container, and so on.
    """
    base = ruled_base(module)
    if base is None or replaced_methods(module) or overridden(type(module), base):
        return None
    return _RULES.get(base, _own_answer)


def _own_answer(module: nn.Module, shape: Shape, bound: BoundOf) -> Bound:
    """The bound of a layer's own method `lipschitz_bound`, after a check of the layer's parts."""
    for name, part in module.named_modules():
        # Only the present value of a parametrisation counts, so its modules are not checked.
        if part is not module and "parametrizations" not in name.split("."):
            _check_part(name, part)
    answer: Any = module.lipschitz_bound(shape)  # type: ignore[operator]
    try:
        value, output = answer
        return Bound(float(value), tuple(int(side) for side in output))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"lipschitz_bound returned {answer!r} (must be a number and the shape of the output)"
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
    """Attributes of `base` that `kind` or another of its bases replaces, without the harmless ones."""
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
    """The nearest class with a rule or a `lipschitz_bound`, which need not hold for the module."""
    return next((kind for kind in type(module).__mro__ if _has_rule(kind)), None)


def _has_rule(kind: type) -> bool:
    answers = issubclass(kind, nn.Module) and callable(vars(kind).get("lipschitz_bound"))
    return kind in _RULES or answers


def _says_same(kind: Any) -> bool:
    return kind in _ACCEPTED or vars(kind).get("computes_like_base") is True
