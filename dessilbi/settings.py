"""The numbers of one step, and the tensors of one parameter that the step reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from operator import itemgetter
from typing import Any

from torch import Tensor

from bregman.elementwise import L1
from bregman.optimizer import group_penalty, learning_rate
from bregman.penalties import Penalty

_ENTRYWISE = L1()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of a parameter group; see `dessilbi.DessiLBI` for their meaning."""

    lr: float
    kappa: float
    nu: float
    lam: float
    momentum: float
    nesterov: bool
    weight_decay: float
    coupling_in_momentum: bool
    decoupled_weight_decay: bool
    scaling: str
    scaling_floor: float

    @classmethod
    def of(cls, group: dict[str, Any]) -> Settings:
        """The settings of a parameter group as they are now (schedules change them)."""
        return _settings(learning_rate(group), *_values(group))

    @property
    def coupled_decay(self) -> float:
        """The weight decay that is part of the gradient."""
        return 0.0 if self.decoupled_weight_decay else self.weight_decay

    @property
    def shrinkage(self) -> float:
        """The share of W that eq. 13b subtracts at each step, whatever the learning rate."""
        return self.weight_decay if self.decoupled_weight_decay else 0.0


_NAMES = tuple(field.name for field in fields(Settings))
_values = itemgetter(*_NAMES[1:])


@lru_cache(maxsize=64)
def _settings(*values: Any) -> Settings:
    return Settings(**dict(zip(_NAMES, values, strict=True)))


def can_join(settings: tuple[Settings, ...]) -> bool:
    """Whether one set of calls can step all groups: no scaling, and options that differ in lam only."""
    first = settings[0]
    if first.scaling != "none" or first.coupling_in_momentum:
        return False
    return all(replace(one, lam=first.lam) == first for one in settings)


@dataclass(slots=True)
class Slot:
    """The tensors of one parameter in a step.

    Attributes:
        param: W.
        grad: Gradient of the data loss.
        dual: V; None for a parameter without a penalty.
        gamma: Gamma where it is stored (`scaling="magnitude"`), otherwise None.
        buffer: Momentum buffer; None without momentum.
        penalty: Omega.
    """

    param: Tensor
    grad: Tensor
    dual: Tensor | None
    gamma: Tensor | None
    buffer: Tensor | None
    penalty: Penalty


def split_penalty(group: dict[str, Any], param: Tensor) -> Penalty:
    """Omega of one parameter: with `group="filter"` a 2-D weight is penalised entry by entry.

    The paper penalises filters in convolutions and single weights in fully connected layers
    (section 3.2). With `group="row"` the rows of a Linear layer are groups.
    """
    if group["penalty"] == "l12" and group["group"] == "filter" and param.dim() == 2:
        return _ENTRYWISE
    return group_penalty(group)


def split_penalties(group: dict[str, Any], params: Sequence[Tensor]) -> list[Penalty]:
    """`split_penalty` of several parameters of one group."""
    penalty = group_penalty(group)
    if group["penalty"] != "l12" or group["group"] != "filter":
        return [penalty] * len(params)
    return [_ENTRYWISE if param.dim() == 2 else penalty for param in params]
