"""Bounds of modules without a rule: their forward is traced and bounded node by node.

`torch.fx` records the forward as a graph of sub-modules, which are bounded as a whole, and of
functions, which need a rule in `clip.operations`. Tracing can miss what Python does with the actual
tensors (a branch on their type, an assignment in place). So the graph must give the output of the module
on an example, and no value may be overwritten before its last use.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from clip.composition import Bound, BoundOf, Shape
from clip.evaluation import check_batch, example_input
from clip.operations import Call, is_shape_query, operation_rule

#: Callback that notes the bound of an operation, by the name of its node.
Record = Callable[[str, float], None]


def trace_bound(module: nn.Module, shape: Shape, bound: BoundOf, record: Record) -> Bound:
    """Bound a module from its traced forward.

    Args:
        module: the module, in evaluation mode.
        shape: shape of one input, without the batch.
        bound: the callback for sub-modules.
        record: callback that notes the factor of each operation.

    Raises:
        ValueError: the forward cannot be traced faithfully, or an operation has no rule.
    """
    graph_module = _trace(module)
    interpreter = _Interpreter(graph_module, bound, record)
    example = example_input(module, shape)
    with torch.no_grad():
        try:
            expected = module(example.clone())
        except (RuntimeError, IndexError, TypeError) as error:
            raise ValueError(f"does not accept inputs of shape {shape}: {error}") from error
        output = interpreter.run(example)
    if not isinstance(output, Tensor) or interpreter.result is None or len(output) != 1:
        raise ValueError("must return one tensor that depends on the input, a row for each image")
    if not isinstance(expected, Tensor) or not _agree(output, expected):
        raise ValueError(
            "gives other outputs when it is traced than when it runs (random numbers, tests on types, "
            "values changed in place): register a rule for it with clip.register_rule"
        )
    check_batch(module, shape)
    return Bound(interpreter.result, tuple(output.shape[1:]))


def _agree(output: Tensor, expected: Tensor) -> bool:
    return output.shape == expected.shape and torch.allclose(output, expected, rtol=1e-4)


class _Single(nn.Module):
    """Calls a module with one argument, so that its other arguments keep their defaults in the trace."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        return self.module(inputs)


class _OneLevel(fx.Tracer):
    """Traces the forward of one module only: its sub-modules stay calls, which own rules bound."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name != "module"


def _trace(module: nn.Module) -> fx.GraphModule:
    wrapped = _Single(module).eval()
    try:
        return fx.GraphModule(wrapped, _OneLevel().trace(wrapped))
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise ValueError(
            f"has no rule and its forward cannot be traced ({error}): register a rule for it with "
            "clip.register_rule"
        ) from error


class _Interpreter(fx.Interpreter):
    """Runs the graph on an example and carries the bound of every node along.

    Attributes:
        bounds: Lipschitz constant of the map from the input to each node that depends on it.
        result: Lipschitz constant of the output; None if it does not depend on the input.
    """

    def __init__(self, graph_module: fx.GraphModule, bound: BoundOf, record: Record) -> None:
        super().__init__(graph_module)
        # Otherwise torch wraps the errors of this class into a report on the graph.
        self.extra_traceback = False
        self.bounds: dict[fx.Node, float] = {}
        self.result: float | None = None
        self._bound = bound
        self._record = record

    def run_node(self, n: fx.Node) -> Any:
        """Compute a node's value, then bound it from the bounds of its inputs."""
        finished = set(self.user_to_last_uses.get(n, []))
        needed = {
            node: value._version
            for node, value in self.env.items()
            if isinstance(value, Tensor) and node not in finished
        }
        value = super().run_node(n)
        if any(self.env[node]._version != version for node, version in needed.items()):
            raise ValueError(f"operation {n.name!r} changes in place a value that is used later")
        if n.op == "placeholder":
            self.bounds[n] = 1.0
        elif n.op == "output":
            source = n.args[0]
            self.result = self.bounds.get(source) if isinstance(source, fx.Node) else None
        elif any(node in self.bounds for node in n.all_input_nodes):
            self._bound_node(n, value)
        return value

    def _bound_node(self, node: fx.Node, value: Any) -> None:
        if is_shape_query(node, value):
            return
        if node.op == "call_module":
            self.bounds[node] = self._module_bound(node, value)
            return
        rule = operation_rule(node)
        if rule is None:
            raise ValueError(
                f"operation {_operation_name(node)!r} has no rule: register a rule for the module "
                "that uses it with clip.register_rule"
            )
        if not isinstance(value, Tensor) or not node.args:
            raise ValueError(
                f"operation {_operation_name(node)!r}: expected one tensor out, and the tensor it "
                "is applied to as first argument"
            )
        arguments = map_arg(node.args, self._value)
        keywords = map_arg(node.kwargs, self._value)
        call = Call(node, arguments, keywords, value, self.bounds)
        self.bounds[node] = rule(call)
        varying = [source for source in node.all_input_nodes if source in self.bounds]
        before = self.bounds[varying[0]]
        if len(varying) == 1 and before > 0 and not math.isclose(before, self.bounds[node]):
            self._record(node.name, self.bounds[node] / before)

    def _module_bound(self, node: fx.Node, value: Any) -> float:
        source = node.args[0] if node.args else None
        name = str(node.target).removeprefix("module.")  # the prefix that `_Single` adds
        if len(node.args) != 1 or node.kwargs or not isinstance(source, fx.Node):
            raise ValueError(f"sub-module {name!r} is called with more than one argument")
        inputs = self.env[source]
        if len(inputs) != 1 or not isinstance(value, Tensor):
            raise ValueError(f"sub-module {name!r}: expected images in, one tensor out")
        result = self._bound(self.fetch_attr(str(node.target)), tuple(inputs.shape[1:]))
        if result.shape != tuple(value.shape[1:]):
            raise ValueError(
                f"sub-module {name!r} gives outputs of shape {tuple(value.shape[1:])}, its "
                f"rule says {result.shape}"
            )
        return self.bounds[source] * result.value

    def _value(self, node: fx.Node) -> Any:
        return self.env[node]


def _operation_name(node: fx.Node) -> str:
    return getattr(node.target, "__name__", str(node.target))
