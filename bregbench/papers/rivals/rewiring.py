"""What changes masks during training: gradual pruning, rewiring, and the plans that are made of both.

Sources: Mocanu et al. 2018 (SET); Evci et al. 2020 (RigL); Zhu, Gupta 2017 (gradual magnitude pruning);
Liu et al. 2021 (GraNet). Clean-room: written from descriptions, not from code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bregman.ramps import Ramp


@dataclass
class View:
    """What an operation sees and changes.

    Attributes:
        weights: By name.
        masks: By name; operations put new masks here.
        gradients: Dense gradients by name, of this step's whole batch; empty where nobody asked.
        generator: A CPU generator for everything that is drawn.
    """

    weights: Mapping[str, Tensor]
    masks: dict[str, Tensor]
    gradients: Mapping[str, Tensor]
    generator: torch.Generator


class Operation(Protocol):
    """One change of all masks."""

    @property
    def needs_gradient(self) -> bool:
        """Whether dense gradients are looked at."""
        ...

    def apply(self, view: View, step: int) -> None:
        """Change the masks at a step."""
        ...


@dataclass(frozen=True)
class Fraction:
    """The share of a layer's weights that is rewired: a cosine from `start` to `end` over `total` steps.

    `total` None: `start` throughout.
    """

    start: float
    end: float = 0.0
    total: int | None = None

    def __post_init__(self) -> None:
        for value in (self.start, self.end):
            if not 0 <= value <= 1:
                raise ValueError(f"Invalid fraction: {value!r} (must be in [0, 1])")

    def at(self, step: int) -> float:
        """The share at a step."""
        if self.total is None:
            return self.start
        fall = math.cos(math.pi * min(step, self.total) / max(self.total, 1))
        return self.end + (self.start - self.end) * (1 + fall) / 2


@dataclass(frozen=True)
class Prune:
    """Keep the largest weights, as many as the ramp says, to the unit; masks only shrink.

    Attributes:
        ramp: The density of all masked layers together, or of each.
        by_layer: Whether every layer has that density, instead of all competing.
    """

    ramp: Ramp
    by_layer: bool = False

    @property
    def needs_gradient(self) -> bool:
        """Magnitudes decide."""
        return False

    def apply(self, view: View, step: int) -> None:
        """See `Operation`."""
        density = self.ramp.density(step)
        names = list(view.masks)
        for part in [[name] for name in names] if self.by_layer else [names]:
            sizes = torch.cat(
                [
                    view.weights[n].abs().masked_fill(~view.masks[n], -1).flatten().float()
                    for n in part
                ]
            )
            present = sum(int(view.masks[name].sum()) for name in part)
            count = max(1, round(density * len(sizes)))
            if count >= present:
                continue
            kept = largest(sizes, count)
            for name, mask in zip(
                part, kept.split([view.masks[n].numel() for n in part]), strict=True
            ):
                view.masks[name] = mask.view_as(view.masks[name])


@dataclass(frozen=True)
class Rewire:
    """Drop the smallest weights of each layer and grow as many elsewhere: the count stays.

    Weights that are dropped may be grown at once, and are not new then.

    Attributes:
        fraction: Share of each layer's weights that is dropped.
        by_gradient: Grow where the dense gradient is largest (RigL), instead of anywhere (SET).
        up: Round the number of dropped weights up (GraNet), instead of down.
    """

    fraction: Fraction
    by_gradient: bool
    up: bool = False

    @property
    def needs_gradient(self) -> bool:
        """Gradients decide where weights grow, or nothing does."""
        return self.by_gradient

    def apply(self, view: View, step: int) -> None:
        """See `Operation`."""
        share = self.fraction.at(step)
        for name, mask in view.masks.items():
            active = int(mask.sum())
            count = math.ceil(share * active) if self.up else math.floor(share * active)
            if count == 0:
                continue
            kept = self._kept(view, name, active - count)
            scores = self._scores(view, name).masked_fill(kept.flatten(), -2)
            view.masks[name] = kept | largest(scores, count).view_as(mask)

    def _kept(self, view: View, name: str, count: int) -> Tensor:
        """The largest active weights; which of equals is drawn."""
        mask = view.masks[name].flatten()
        sizes = view.weights[name].abs().flatten().float().masked_fill(~mask, -1)
        order = torch.randperm(len(mask), generator=view.generator).to(mask.device)
        chosen = order[sizes[order].argsort(descending=True, stable=True)[:count]]
        kept = torch.zeros_like(mask)
        kept[chosen] = True
        return kept.view_as(view.masks[name])

    def _scores(self, view: View, name: str) -> Tensor:
        weight = view.weights[name]
        if self.by_gradient:
            return view.gradients[name].abs().flatten().float().nan_to_num(-1, -1, -1)
        return torch.rand(weight.numel(), generator=view.generator).to(weight.device)


@dataclass(frozen=True)
class Plan:
    """Which operations change the masks, and at which steps; steps count from 0.

    Attributes:
        operations: In their order; none leave the masks as they are.
        interval: Steps between two updates.
        begin: First step that may have one.
        end: First step that has none any more.
        also: Further steps with an update.
        instead: Whether an update takes the place of the optimiser's step (RigL's paper), instead of
            following it.
    """

    operations: tuple[Operation, ...] = ()
    interval: int = 100
    begin: int = 1
    end: int = 0
    also: tuple[int, ...] = ()
    instead: bool = False

    def __post_init__(self) -> None:
        if self.interval < 1 or self.begin < 0 or self.end < 0:
            raise ValueError(
                f"Invalid plan: interval {self.interval}, begin {self.begin}, end {self.end} "
                "(must be at least 1, 0 and 0)"
            )

    def due(self, step: int) -> bool:
        """Whether the masks change at a step."""
        if not self.operations:
            return False
        regular = self.begin <= step < self.end and step % self.interval == 0
        return regular or step in self.also

    @property
    def needs_gradient(self) -> bool:
        """Whether an operation looks at dense gradients."""
        return any(operation.needs_gradient for operation in self.operations)


def static() -> Plan:
    """Masks that never change."""
    return Plan()


def set_plan(*, interval: int, end: int, alpha: float = 0.3) -> Plan:
    """SET: a share alpha of each layer is rewired at random, after the optimiser's step."""
    rewire = Rewire(Fraction(alpha), by_gradient=False)
    return Plan((rewire,), interval=interval, end=end)


def rigl_plan(*, interval: int, end: int, alpha: float = 0.3, instead: bool = True) -> Plan:
    """RigL: weights grow where the gradient is largest; the share falls with a cosine to 0 at `end`."""
    rewire = Rewire(Fraction(alpha, 0.0, end), by_gradient=True)
    return Plan((rewire,), interval=interval, end=end, instead=instead)


def gmp_plan(ramp: Ramp, *, interval: int, by_layer: bool = False) -> Plan:
    """Gradual magnitude pruning along a ramp, whose last value is reached exactly at its end."""
    prune = Prune(ramp, by_layer)
    return Plan((prune,), interval=interval, begin=ramp.begin, end=ramp.end, also=(ramp.end,))


def granet_plan(
    ramp: Ramp, *, interval: int, end: int, first: float = 0.5, last: float = 0.005
) -> Plan:
    """GraNet: global pruning along a ramp, and after it a share of each layer is rewired by gradient.

    Args:
        ramp: Cubic, from .5 or 1.
        interval: Steps between two updates.
        end: Length of training, over which the share falls from `first` to `last`.
        first: Share at the beginning.
        last: Share at the end.
    """
    rewire = Rewire(Fraction(first, last, end), by_gradient=True, up=True)
    return Plan((Prune(ramp), rewire), interval=interval, end=end, also=(ramp.end,))


def largest(values: Tensor, count: int) -> Tensor:
    """True at exactly `count` largest values of one axis."""
    mask = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    mask[values.topk(count).indices] = True
    return mask
