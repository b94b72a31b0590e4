"""The optimisers and penalties that the property tests run over, and the convex analysis they need."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bregman import AdaBreg, LinBreg, ProxAdam, ProxSGD
from bregman.groups import group_dims, group_size
from bregman.optimizer import PenalisedOptimizer


@dataclass(frozen=True)
class PenaltyCase:
    """A penalty and a tensor shape that it fits."""

    name: str
    shape: tuple[int, ...]
    group: Any = None
    group_weight: str = "sqrt"

    @property
    def settings(self) -> dict[str, Any]:
        return {"penalty": self.name, "group": self.group, "group_weight": self.group_weight}

    def __str__(self) -> str:
        return f"{self.name}-{self.group}-{self.group_weight}".replace(" ", "")


PENALTIES = [
    PenaltyCase("none", (3, 4)),
    PenaltyCase("l1", (3, 4)),
    PenaltyCase("nonnegative", (3, 4)),
    PenaltyCase("nuclear", (4, 3)),
    PenaltyCase("nuclear", (3, 2, 2, 2)),
    PenaltyCase("l12", (4, 3), "row"),
    PenaltyCase("l12", (4, 3), "row", "none"),
    PenaltyCase("l12", (4, 3), "column"),
    PenaltyCase("l12", (4, 3, 3, 3), "kernel"),
    PenaltyCase("l12", (4, 3, 3, 2), "filter"),
    PenaltyCase("l12", (4, 3, 3, 2), "channel", "none"),
    PenaltyCase("l12", (4, 3, 5), "kernel"),
    PenaltyCase("l12", (3, 4, 2), "complex"),
    PenaltyCase("l12", (3, 4, 2), (0, 2)),
    PenaltyCase("l12", (3, 4, 2), (-1, 1)),
    PenaltyCase("l12", (3, 4, 9, 9), "kernel"),
]


@dataclass(frozen=True)
class OptimizerCase:
    """An optimiser, settings with which it moves visibly, and what it can do."""

    cls: type[PenalisedOptimizer]
    settings: dict[str, Any] = field(default_factory=dict)
    penalties: tuple[str, ...] = ("none", "l1", "l12", "nonnegative", "nuclear")

    def __str__(self) -> str:
        return self.cls.__name__ + ("-momentum" if "momentum" in self.settings else "")


OPTIMIZERS = [
    OptimizerCase(LinBreg, {"lr": 0.1}),
    OptimizerCase(LinBreg, {"lr": 0.1, "momentum": 0.9}),
    OptimizerCase(AdaBreg, {"lr": 0.05}),
    OptimizerCase(AdaBreg, {"lr": 0.05, "legacy_bias_correction": True}),
    OptimizerCase(ProxSGD, {"lr": 0.1}),
    OptimizerCase(ProxSGD, {"lr": 0.1, "momentum": 0.9}),
    OptimizerCase(ProxAdam, {"lr": 0.05}, penalties=("none", "l1")),
]

DUAL_OPTIMIZERS = [case for case in OPTIMIZERS if case.cls in (LinBreg, AdaBreg)]

PAIRS = [
    (optimizer, penalty)
    for optimizer in OPTIMIZERS
    for penalty in PENALTIES
    if penalty.name in optimizer.penalties
]


def build(
    optimizer: OptimizerCase, params: Any, case: PenaltyCase | None = None, **options: Any
) -> PenalisedOptimizer:
    """The optimiser of a case on these parameters; `options` win over the settings of the case."""
    chosen = {**optimizer.settings, **(case.settings if case else {}), **options}
    if optimizer.cls is ProxAdam:  # it has no groups
        chosen = {name: value for name, value in chosen.items() if not name.startswith("group")}
    return optimizer.cls(params, **chosen)


def sparse_start(
    case: PenaltyCase, density: float = 0.5, dtype: torch.dtype = torch.float64
) -> Tensor:
    """A feasible point at which the structure that the penalty favours is present."""
    x = torch.randn(case.shape, dtype=dtype)
    if case.name == "nuclear":
        matrix = x.view(case.shape[0], -1)
        return (matrix[:, :1] @ matrix[:1]).view(case.shape)  # rank one
    if case.name == "nonnegative":
        x = x.abs()
    dims = group_dims(case.group, case.shape) if case.name == "l12" else ()
    mask_shape = [1 if axis in dims else size for axis, size in enumerate(case.shape)]
    return x * (torch.rand(mask_shape) < density)


def dual_ball_projection(case: PenaltyCase, x: Tensor, radius: float) -> Tensor:
    """Projection onto the set where the conjugate of `radius * J` vanishes, written independently."""
    if case.name == "none":
        return torch.zeros_like(x)
    if case.name == "l1":
        return x.clamp(-radius, radius)
    if case.name == "nonnegative":
        return x.clamp(max=radius)
    if case.name == "nuclear":
        u, s, vh = torch.linalg.svd(x.reshape(x.shape[0], -1), full_matrices=False)
        return (u @ torch.diag(s.clamp(max=radius)) @ vh).reshape(x.shape)
    dims = group_dims(case.group, x.shape)
    weight = math.sqrt(group_size(dims, x.shape)) if case.group_weight == "sqrt" else 1.0
    norms = x.square().sum(dim=dims, keepdim=True).sqrt()
    return torch.where(norms > radius * weight, x * (radius * weight / norms), x)


def subgradient_error(case: PenaltyCase, x: Tensor, p: Tensor, lam: float) -> float:
    """How far p is from the subdifferential of `lam J` at x: x and p must satisfy x = prox(x + p)."""
    # Moreau: p is a subgradient at x exactly if projecting x + p onto the dual ball gives p.
    return float((dual_ball_projection(case, x + p, lam) - p).abs().max())
