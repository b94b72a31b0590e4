"""Bounds of the functions and tensor methods that a traced forward may use between its layers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from clip.composition import Shape
from clip.rules import find_rule
from clip.spectral import as_double, spectral_norm


@dataclass(frozen=True)
class Call:
    """One operation of a traced forward, with the values of the example run.

    Attributes:
        node: node of the graph.
        arguments: values of the positional arguments.
        keywords: values of the keyword arguments.
        value: value of the result.
        bounds: Lipschitz constants of the nodes that depend on the network's input.
    """

    node: fx.Node
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    value: Tensor
    bounds: dict[fx.Node, float]

    def varies(self, index: int) -> bool:
        """Whether a positional argument depends on the network's input."""
        source = self.node.args[index]
        return isinstance(source, fx.Node) and source in self.bounds

    def incoming(self, index: int = 0) -> float:
        """Bound of a positional argument after broadcasting; 0 for a constant argument."""
        if not self.varies(index):
            return 0.0
        repeated = max(1.0, self.value.numel() / self.arguments[index].numel())
        return self.bounds[self.node.args[index]] * math.sqrt(repeated)  # type: ignore[index]

    def require_two(self, keywords: Collection[str] = ()) -> None:
        """Raise ValueError for other calls than those with two positional arguments and these keywords."""
        if len(self.arguments) != 2 or self.keywords.keys() - set(keywords):
            raise ValueError(f"operation {self.node.name!r} is called in a way that has no rule")

    def only_first_varies(self) -> float:
        """Bound of the first argument, which must be the only one that is not constant.

        Raises:
            ValueError: another argument depends on the network's input, or the first argument does not.
        """
        source = self.node.args[0]
        others = any(node in self.bounds for node in self.node.all_input_nodes if node != source)
        if others or not self.varies(0):
            raise ValueError(
                f"operation {self.node.name!r}: only its first argument may depend on the input"
            )
        return self.incoming(0)


OperationRule = Callable[[Call], float]


def operation_rule(node: fx.Node) -> OperationRule | None:
    """The rule of a call of a function or of a tensor method, if there is one."""
    return _RULES.get(node.target)


def is_shape_query(node: fx.Node, value: Any) -> bool:
    """Whether a node asks for the shape of a tensor, which does not vary with its entries."""
    if node.op == "call_method":
        return node.target in {"size", "dim", "numel"}
    constant = (torch.Size, int, torch.dtype, torch.device)
    return node.target is getattr and isinstance(value, constant)


def _same_entries(call: Call) -> float:
    """A function that moves or drops entries and repeats none."""
    first = call.only_first_varies()
    source = call.arguments[0]
    if call.value.numel() > source.numel() or call.value.dtype != source.dtype:
        raise ValueError(f"operation {call.node.name!r} repeats or reinterprets entries")
    return first


def _getitem(call: Call) -> float:
    index = call.arguments[1]
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part is ... or isinstance(part, int | slice) for part in parts):
        raise ValueError(f"operation {call.node.name!r} indexes with tensors or lists")
    return _same_entries(call)


def _sum_of_terms(call: Call) -> float:
    alpha = abs(call.keywords.get("alpha", 1))
    call.require_two({"alpha"})
    return call.incoming(0) + alpha * call.incoming(1)


def _product(call: Call) -> float:
    """Entrywise product of one varying factor and one constant."""
    call.require_two()
    varying = [index for index in (0, 1) if call.varies(index)]
    if len(varying) > 1:
        raise ValueError(f"operation {call.node.name!r} multiplies two values that both vary")
    return sum(call.incoming(i) * _largest(call.arguments[1 - i]) for i in varying)


def _quotient(call: Call) -> float:
    call.require_two()
    call.only_first_varies()
    divisor = call.arguments[1]
    inverse = as_double(divisor).reciprocal() if isinstance(divisor, Tensor) else 1 / divisor
    return call.incoming(0) * _largest(inverse)


def _largest(constant: Any) -> float:
    if isinstance(constant, Tensor):
        return float(as_double(constant).abs().max())
    return abs(float(constant))


def _concatenation(call: Call) -> float:
    parts: Any = call.node.args[0]
    return math.sqrt(sum(call.bounds.get(part, 0.0) ** 2 for part in parts))


def _mean(call: Call) -> float:
    """Each entry is in one mean of m entries: the norm is 1 / sqrt(m)."""
    first = call.only_first_varies()
    return first * math.sqrt(call.value.numel() / call.arguments[0].numel())


def _sum(call: Call) -> float:
    first = call.only_first_varies()
    return first * math.sqrt(call.arguments[0].numel() / call.value.numel())


def _dropout(call: Call) -> float:
    training = call.keywords.get("training", call.arguments[2] if len(call.arguments) > 2 else True)
    if training:
        raise ValueError(f"operation {call.node.name!r} is active: pass training=self.training")
    return call.only_first_varies()


def _linear(call: Call) -> float:
    weight = call.arguments[1] if len(call.arguments) > 1 else call.keywords["weight"]
    return call.only_first_varies() * spectral_norm(weight)


def _one(call: Call) -> float:
    """A function with slopes of at most 1, whatever its constant arguments are."""
    return call.only_first_varies()


def _as_module(kind: type[nn.Module], most_arguments: int = 8) -> OperationRule:
    """The rule of a layer, for a function with the same arguments after the first.

    Args:
        kind: the layer's type.
        most_arguments: number of arguments that function and layer take in the same order.
    """

    def rule(call: Call) -> float:
        first = call.only_first_varies()
        if len(call.arguments) - 1 > most_arguments:
            raise ValueError(f"operation {call.node.name!r}: pass later arguments by keyword")
        ignored = {"inplace", "_stacklevel", "dtype"}
        keywords = {name: v for name, v in call.keywords.items() if name not in ignored}
        try:
            layer = kind(*call.arguments[1:], **keywords).eval()
        except TypeError as error:
            raise ValueError(f"operation {call.node.name!r}: {error}") from error
        layer_rule = find_rule(layer)
        assert layer_rule is not None
        return first * layer_rule(layer, tuple(call.arguments[0].shape[1:]), _no_parts).value

    return rule


def _no_parts(module: nn.Module, shape: Shape) -> Any:
    raise ValueError(f"unexpected sub-module {module} at {shape}")


_SAME_ENTRIES = ("flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze")
_LAYERS: dict[type[nn.Module], tuple[Any, ...]] = {
    nn.Sigmoid: (torch.sigmoid, F.sigmoid, "sigmoid"),
    nn.Softmax: (torch.softmax, F.softmax, "softmax"),
    nn.LogSoftmax: (torch.log_softmax, F.log_softmax, "log_softmax"),
    nn.LeakyReLU: (F.leaky_relu,),
    nn.ELU: (F.elu,),
    nn.CELU: (F.celu,),
    nn.SELU: (F.selu,),
    nn.GELU: (F.gelu,),
    nn.SiLU: (F.silu,),
    nn.Mish: (F.mish,),
    nn.Hardswish: (F.hardswish,),
    nn.Softplus: (F.softplus,),
    nn.AvgPool1d: (F.avg_pool1d,),
    nn.AvgPool2d: (F.avg_pool2d,),
    nn.AdaptiveAvgPool1d: (F.adaptive_avg_pool1d,),
    nn.AdaptiveAvgPool2d: (F.adaptive_avg_pool2d,),
}

_RULES: dict[Any, OperationRule] = {
    **dict.fromkeys(_SAME_ENTRIES, _same_entries),
    **{getattr(torch, name): _same_entries for name in _SAME_ENTRIES if hasattr(torch, name)},
    **dict.fromkeys(("contiguous", "clone", "detach"), _same_entries),
    operator.getitem: _getitem,
    **dict.fromkeys((operator.add, torch.add, "add", "add_"), _sum_of_terms),
    **dict.fromkeys((operator.sub, torch.sub, "sub", "sub_"), _sum_of_terms),
    **dict.fromkeys((operator.mul, torch.mul, "mul", "mul_"), _product),
    **dict.fromkeys((operator.truediv, torch.div, "div", "div_"), _quotient),
    **dict.fromkeys((torch.cat, torch.concat, torch.stack), _concatenation),
    **dict.fromkeys((torch.mean, "mean"), _mean),
    **dict.fromkeys((torch.sum, "sum"), _sum),
    **dict.fromkeys((operator.neg, torch.neg, torch.abs, "abs", "neg"), _one),
    **dict.fromkeys((torch.relu, torch.relu_, F.relu, F.relu_, "relu", "relu_", F.relu6), _one),
    **dict.fromkeys((torch.tanh, F.tanh, "tanh", F.logsigmoid, F.softsign), _one),
    **dict.fromkeys((torch.clamp, "clamp"), _one),
    F.dropout: _dropout,
    F.linear: _linear,
    **{target: _as_module(kind) for kind, targets in _LAYERS.items() for target in targets},
    # From the fifth argument on, the function and the layer disagree on the order.
    F.max_pool1d: _as_module(nn.MaxPool1d, 4),
    F.max_pool2d: _as_module(nn.MaxPool2d, 4),
}
