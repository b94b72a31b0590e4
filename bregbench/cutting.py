"""Cutting trained networks back: thresholds on magnitudes, and pruning at the start of a phase."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from bregbench.checks import require
from bregbench.measures.layers import CONVOLUTIONS, TRANSPOSED
from bregman import apply_masks, magnitude_masks

if TYPE_CHECKING:
    from bregbench.methods import Method, MethodConfig
    from bregbench.streams import Streams

Masks = dict[str, torch.Tensor]


class Unit(Enum):
    """What is kept or dropped as a whole."""

    entry = "entry"
    kernel = "kernel"
    filter = "filter"
    row = "row"


class Scope(Enum):
    """Whether magnitudes compete within each layer or over all of them."""

    layer = "layer"
    all = "global"


class Approach(Enum):
    """How a phase that is repeated comes to its density.

    At once; by keeping the same share of what is left in every round (Han et al., 2015); or with a
    sparsity that rises as 1 - (1 - k / n)^3 of its end over n rounds (Zhu and Gupta, 2017).
    """

    at_once = "at_once"
    geometric = "geometric"
    cubic = "cubic"

    def density(self, last: float, *, number: int, of: int) -> float:
        """The density of round `number` of so many, counted from 1, that end at `last`."""
        match self:
            case Approach.at_once:
                return last
            case Approach.geometric:
                return last ** (number / of)
            case Approach.cubic:
                return last + (1 - last) * (1 - number / of) ** 3


@dataclass
class Cut:
    """Which weights are too small to keep; with neither density nor threshold, none.

    Attributes:
        density: keep this share of the units.
        threshold: keep units whose root-mean-square entry is larger than this, instead.
        by: the units.
        scope: whether the share is of each layer or of all of them.
        linear_density: share of the units of linear layers, where it is not that of the
            convolutions; the two kinds then do not compete.
    """

    density: float | None = None
    threshold: float | None = None
    by: Unit = Unit.entry
    scope: Scope = Scope.all
    linear_density: float | None = None

    @property
    def active(self) -> bool:
        """Whether anything is cut."""
        return self.density is not None or self.threshold is not None

    def check(self, key: str) -> None:
        """Refuse values out of range.

        Args:
            key: what the user typed in front of `.density`.

        Raises:
            BenchError: names the value and what is allowed.
        """
        both = self.density is not None and self.threshold is not None
        require(not both, f"{key}.threshold", self.threshold, "left out where density is given")
        for name in ("density", "linear_density"):
            value = getattr(self, name)
            require(value is None or 0 < value <= 1, f"{key}.{name}", value, "in (0, 1]")
        require(
            self.linear_density is None or self.density is not None,
            f"{key}.linear_density",
            self.linear_density,
            f"left out without {key}.density, the share of the convolutions",
        )
        require(
            self.threshold is None or self.threshold >= 0,
            f"{key}.threshold",
            self.threshold,
            "at least 0",
        )

    def masks(self, network: nn.Module) -> Masks:
        """Masks of the Linear and convolution weights: True where a weight is kept."""
        masks = partial(magnitude_masks, network, by=self.by.value, scope=self.scope.value)
        if self.linear_density is None:
            return masks(density=self.density, threshold=self.threshold)
        convolutions = masks(density=self.density, modules=(*CONVOLUTIONS, *TRANSPOSED))
        return convolutions | masks(density=self.linear_density, modules=nn.Linear)

    def applied(self, network: nn.Module) -> nn.Module:
        """A copy of the network without the small weights."""
        judged = copy.deepcopy(network)
        apply_masks(judged, self.masks(network))
        return judged


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Where one phase ends and the next begins.

    Attributes:
        phase: name of the phase that begins.
        number: which of its repetitions, from 1.
        repeat: how many there are.
        network: as the last phase left it; a transform may change it.
        method: of the last phase, with its optimiser's state; None before the first phase.
        snapshot: the network's state after an epoch of this run, 0 being its start; of the epochs
            that transforms have asked for with `rewinds`.
        example: a batch of training images, to compare outputs on.
        streams: of randomness.
    """

    phase: str
    number: int = 1
    repeat: int = 1
    network: nn.Module
    method: Method | None
    snapshot: Callable[[int], dict[str, torch.Tensor]]
    example: torch.Tensor
    streams: Streams


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What a phase begins with.

    Attributes:
        network: to be trained.
        masks: what they do not keep stays zero during the phase.
        carry: called with the new method, to take state over from the last one.
    """

    network: nn.Module
    masks: Masks = field(default_factory=dict)
    carry: Callable[[Method], None] | None = None


@dataclass
class TransformConfig:
    """What is done to the network when a phase begins."""

    kind: ClassVar[str]

    def check(self, phase: str) -> None:
        """Refuse values out of range."""

    def check_order(self, phase: str, last: MethodConfig | None) -> None:
        """Refuse a place in the run that does not fit.

        Args:
            phase: name of the phase that begins.
            last: method of the phase before it; None for the first phase.
        """

    def rewinds(self) -> list[int]:
        """Epochs of the run whose weights this transform will ask for."""
        return []

    def portable(self) -> TransformConfig:
        """The same without folders of this machine, for records."""
        return self

    def begin(self, turn: Turn) -> Begun | None:
        """What the phase begins with; None where it, and its repetitions, are to be left out."""
        raise NotImplementedError


@dataclass
class MagnitudePruning(TransformConfig):
    """Drop the smallest weights, kernels, filters or rows, for the whole phase (Han et al., 2015).

    Attributes:
        density: share of the units that is kept, of all there are, whatever was dropped earlier.
        by: the units.
        scope: whether the share is of each layer or of all of them.
        linear_density: share of the units of linear layers, where it is not that of the
            convolutions; the two kinds then do not compete.
        approach: how the repetitions of a phase come to these densities.
    """

    kind: ClassVar[str] = "magnitude_pruning"
    density: float = 0.5
    by: Unit = Unit.entry
    scope: Scope = Scope.all
    linear_density: float | None = None
    approach: Approach = Approach.at_once

    def check(self, phase: str) -> None:
        self._cut().check(f"phases.{phase}.begin")

    def begin(self, turn: Turn) -> Begun:
        cut = self._cut(number=turn.number, of=turn.repeat)
        masks = cut.masks(turn.network)
        apply_masks(turn.network, masks)
        return Begun(network=turn.network, masks=masks)

    def _cut(self, *, number: int = 1, of: int = 1) -> Cut:
        def now(last: float) -> float:
            return self.approach.density(last, number=number, of=of)

        return Cut(
            density=now(self.density),
            by=self.by,
            scope=self.scope,
            linear_density=None if self.linear_density is None else now(self.linear_density),
        )


TRANSFORMS: tuple[type[TransformConfig], ...] = (MagnitudePruning,)
