"""The scores of a network before its last activation.

A sigmoid or a ReLU behind the last layer keeps the order of the classes but saturates, so that gradients
vanish. Attacks therefore ascend on the scores before such an activation, and classify by its outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

#: Non-decreasing functions, which keep the order of the classes.
_ORDER_KEEPING = frozenset(
    {
        "sigmoid",
        "tanh",
        "relu",
        "relu6",
        "hardtanh",
        "hardsigmoid",
        "elu",
        "selu",
        "celu",
        "softplus",
        "softsign",
        "logsigmoid",
        "log_sigmoid",
    }
)
_OVER_CLASSES = frozenset({"softmax", "log_softmax"})
#: Functions that keep all numbers and change shape, dtype or memory only.
_FORMS = frozenset(
    ["flatten", "reshape", "view", "squeeze", "contiguous", "clone", "float", "double", "to"]
)


def outputs_and_scores(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs of a network, and the scores before its final activations (the outputs if none).

    Final activations are found if Python calls them, as modules or as functions; those in compiled or
    scripted code are not found.

    Args:
        model: the network, which is run in its present mode.
        images: ``(n, *input_shape)``.
    """
    watcher = _Watcher()
    with watcher:
        outputs = model(images)
    scores = outputs
    while id(scores) in watcher.before:
        scores = watcher.before[id(scores)][1]
    if not isinstance(scores, Tensor) or scores.shape != outputs.shape:
        scores = outputs
    return outputs, scores


class _Watcher(TorchFunctionMode):
    """Notes the arguments of order-keeping functions.

    Attributes:
        before: by the id of a result, the result and the scores before the function. The result is kept,
            because Python may give the id of a freed tensor to a new one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        source = args[0] if args else kwargs.get("input")
        if not isinstance(source, Tensor):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if _keeps_order(name.rstrip("_"), args, kwargs):
            in_place = name.endswith("_") or kwargs.get("inplace") is True or True in _flags(args)
            # An activation in place overwrites its argument.
            scores = source.clone() if in_place else source
            result = func(*args, **kwargs)
            self.before[id(result)] = (result, scores)
            return result
        result = func(*args, **kwargs)
        if name in _FORMS and id(source) in self.before and result is not source and args:
            scores = self.before[id(source)][1]
            if scores.shape == source.shape:
                self.before[id(result)] = (result, func(scores, *args[1:], **kwargs))
        return result


def _flags(args: tuple[Any, ...]) -> list[bool]:
    return [argument for argument in args if isinstance(argument, bool)]


def _keeps_order(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if name in _OVER_CLASSES:
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        return dim in (1, -1)
    return name in _ORDER_KEEPING
