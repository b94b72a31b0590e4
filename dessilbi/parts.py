"""Steps of a Bregman optimiser on parts of its parameters, with the parts of their state.

Entries outside of the parts do not change, nor do their duals and moments. A group of `l12` that reaches
beyond its part counts as a whole: its threshold is that of all its entries, and its norm includes the
duals outside of the part. When the factor of such a group changes, its weights outside of the part
change, too, because weights are the prox of their duals at all times.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from bregman.dual import DualOptimizer
from bregman.groups import group_dims, group_size
from bregman.l12 import L12, shrink_factor_
from bregman.optimizer import group_penalty, zero_state
from dessilbi.slices import Slice

#: Options that the groups of the partial optimiser do not copy from the whole one at every step.
_OWN = frozenset({"params", "param_names", "penalty", "group", "foreach"})


class PartOfGroups:
    """The penalty `l12` on a part of a tensor.

    Args:
        penalty: Penalty of the whole tensor.
        where: The part.
        dual: Dual of the whole tensor.

    Attributes:
        dims: Axes that form a group.
        factor: Factors by which the latest prox multiplied the groups; None before the first prox.
    """

    def __init__(self, penalty: L12, where: Slice, dual: Tensor) -> None:
        self.dims = group_dims(penalty.group, dual.shape)
        self._weight = group_size(self.dims, dual.shape) ** 0.5 if penalty.sqrt_weight else 1.0
        others = self.beside(where).take(dual)
        where.along(self.dims).clear(others)
        self._elsewhere = vector_norm(others, dim=self.dims, keepdim=True)
        self.factor: Tensor | None = None

    def beside(self, where: Slice) -> Slice:
        """The slice of all entries of the groups of which the part holds some entries."""
        return where.along(self.dims, other=True)

    def prox_into(self, x: Tensor, lam: float, out: Tensor) -> None:
        """Write the part of the prox of the whole tensor into `out`."""
        norms = vector_norm(x, dim=self.dims, keepdim=True).hypot(self._elsewhere)
        self.factor = shrink_factor_(norms, lam * self._weight)
        torch.mul(x, self.factor, out=out)


@dataclass
class Part:
    """A part of a parameter.

    Attributes:
        whole: The parameter.
        where: The slice that the part takes of it.
        param: The part as a parameter of its own.
        group: Group of the part in the partial optimiser.
        penalty: Penalty of the part if its groups reach beyond it, else None.
    """

    whole: Tensor
    where: Slice
    param: nn.Parameter
    group: dict[str, Any] = field(default_factory=dict)
    penalty: PartOfGroups | None = None


class PartialOptimizer:
    """Takes the steps of an optimiser on parts of its parameters.

    Parameters without state, because they had no gradient yet, are left out.

    Args:
        optimizer: The whole optimiser; its options are read at each step.
        parts: For each parameter its part, as a parameter, and the slice that the part takes.
    """

    def __init__(
        self, optimizer: DualOptimizer, parts: Mapping[Tensor, tuple[nn.Parameter, Slice]]
    ) -> None:
        self._whole = optimizer
        self.parts: dict[Tensor, Part] = {}
        self._numbers: list[int] = []
        groups: list[dict[str, Any]] = []
        state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, group in enumerate(optimizer.param_groups):
            members = [p for p in group["params"] if p in parts and optimizer.state.get(p)]
            own = [self._part(param, *parts[param], group) for param in members]
            joint = {**group, "params": [p.param for p in own if p.penalty is None]}
            single = [
                # PartOfGroups has only prox_into, which the reference form does not call
                {**group, "params": [p.param], "penalty": p.penalty, "foreach": None}
                for p in own
                if p.penalty
            ]
            for one in (joint, *single):
                one.pop("param_names", None)
                groups.append(one)
                self._numbers.append(number)
            for part in own:
                part.group = next(g for g in (joint, *single) if _holds(g, part.param))
                state[part.param] = self._state_of(part)
                self.parts[part.whole] = part
        self._small = object.__new__(type(optimizer))  # without __init__, as unpickling does
        defaults = dict(optimizer.defaults)
        self._small.__setstate__({"defaults": defaults, "state": state, "param_groups": groups})

    def zero_grad(self) -> None:
        """Drop the gradients of the parts."""
        self._small.zero_grad()

    def step(self) -> None:
        """One step on the parts that have a gradient."""
        for number, group in zip(self._numbers, self._small.param_groups, strict=True):
            options = self._whole.param_groups[number]
            group.update({key: value for key, value in options.items() if key not in _OWN})
        self._small.step()

    @torch.no_grad()
    def put_back(self) -> None:
        """Write parameters and state into those of the whole optimiser."""
        for part in self.parts.values():
            state = self._whole.state[part.whole]
            for key, value in self._small.state[part.param].items():
                if not isinstance(value, Tensor):
                    state[key] = value
                    continue
                if key not in state:
                    state[key] = zero_state(part.whole)
                part.where.put(state[key], value)
            _put_parameter(part, state["dual"])

    def _part(
        self, whole: Tensor, param: nn.Parameter, where: Slice, group: dict[str, Any]
    ) -> Part:
        part = Part(whole, where, param)
        penalty = group_penalty(group)
        if isinstance(penalty, L12) and where.along(group_dims(penalty.group, whole.shape)).index:
            part.penalty = PartOfGroups(penalty, where, self._whole.state[whole]["dual"])
        return part

    def _state_of(self, part: Part) -> dict[str, Any]:
        state = self._whole.state[part.whole]
        return {k: part.where.take(v) if isinstance(v, Tensor) else v for k, v in state.items()}


def _holds(group: dict[str, Any], param: Tensor) -> bool:
    return any(other is param for other in group["params"])


def _put_parameter(part: Part, dual: Tensor) -> None:
    penalty = part.penalty
    if penalty is None or penalty.factor is None:
        part.where.put(part.whole, part.param)
        return
    beside = penalty.beside(part.where)
    groups = beside.take(dual).mul_(penalty.factor).mul_(part.group["delta"])
    part.where.along(penalty.dims).put(groups, part.param)
    beside.put(part.whole, groups)
