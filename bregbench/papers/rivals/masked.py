"""Masks on the bench: static random masks, SET, RigL, gradual pruning, GraNet and SNIP as methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bregbench.foundations.errors import require
from bregbench.foundations.ranges import check_counts, check_numbers
from bregbench.foundations.streams import Streams
from bregbench.papers.rivals.masking import MaskedConfig
from bregbench.papers.rivals.masks import Masks
from bregbench.papers.rivals.rewiring import (
    Plan,
    gmp_plan,
    granet_plan,
    rigl_plan,
    set_plan,
    static,
)
from bregbench.papers.rivals.snip import snip_masks
from bregman import Ramp


@dataclass
class StaticRandom(MaskedConfig):
    """Random masks that never change."""

    kind: ClassVar[str] = "static_random"

    def plan(self, steps: int) -> Plan:
        return static()


@dataclass
class Set(MaskedConfig):
    """Sparse evolutionary training (Mocanu et al., 2018): smallest weights go, random ones come.

    Attributes:
        alpha: share of each layer's weights that is rewired.
    """

    kind: ClassVar[str] = "set"
    alpha: float = 0.3

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "alpha", least=0, most=1)

    def plan(self, steps: int) -> Plan:
        end = round(self.until * steps)
        return set_plan(interval=self.interval, end=end, alpha=self.alpha)


@dataclass
class Rigl(MaskedConfig):
    """RigL (Evci et al., 2020): smallest weights go, those with the largest gradients come.

    Attributes:
        alpha: share of each layer's weights that is rewired at first; a cosine takes it to 0.
        instead: an update takes the place of the optimiser's step, as in the paper.
    """

    kind: ClassVar[str] = "rigl"
    alpha: float = 0.3
    instead: bool = True

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "alpha", least=0, most=1)

    def plan(self, steps: int) -> Plan:
        end = round(self.until * steps)
        return rigl_plan(interval=self.interval, end=end, alpha=self.alpha, instead=self.instead)


@dataclass
class Gmp(MaskedConfig):
    """Gradual magnitude pruning (Zhu, Gupta 2017), step by step along a cubic.

    Attributes:
        begin: share of training before the first weights go.
        by_layer: whether every layer gets the density, instead of all layers competing.
    """

    kind: ClassVar[str] = "gmp"
    begin: float = 0.0
    by_layer: bool = False

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "begin", least=0, most=1)
        require(
            self.begin <= self.until, f"{at}.begin", self.begin, f"at most {at}.until={self.until}"
        )

    def paced(self) -> str | None:
        return "density"

    def start_density(self) -> float | None:
        return None

    def plan(self, steps: int) -> Plan:
        ramp = Ramp(
            "cubic", self.density, begin=round(self.begin * steps), end=round(self.until * steps)
        )
        return gmp_plan(ramp, interval=self.interval, by_layer=self.by_layer)


@dataclass
class Granet(MaskedConfig):
    """GraNet (Liu et al., 2021): gradual pruning from half the weights, and rewiring by gradient.

    `until` is the share of training over which the density falls; rewiring goes on to the end.

    Attributes:
        initial_density: of the first, random masks.
        alpha: share of each layer's weights that is rewired at first.
        alpha_end: the same at the end.
    """

    kind: ClassVar[str] = "granet"
    until: float = 0.5
    initial_density: float = 0.5
    alpha: float = 0.5
    alpha_end: float = 0.005

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "initial_density", above=0, most=1)
        check_numbers(self, at, "alpha", "alpha_end", least=0, most=1)
        require(
            self.density <= self.initial_density,
            f"{at}.initial_density",
            self.initial_density,
            f"at least {at}.density={self.density}",
        )

    def paced(self) -> str | None:
        return "density"

    def start_density(self) -> float | None:
        return self.initial_density

    def plan(self, steps: int) -> Plan:
        end = round(self.until * steps)
        ramp = Ramp("cubic", self.density, start=self.initial_density, end=end)
        return granet_plan(
            ramp, interval=self.interval, end=steps, first=self.alpha, last=self.alpha_end
        )


@dataclass
class Snip(MaskedConfig):
    """SNIP (Lee et al., 2019): masks from the first batch, by |w g|; never changed.

    Attributes:
        rounds: 1 is SNIP; more keep density^(k / rounds) in round k.
    """

    kind: ClassVar[str] = "snip"
    rounds: int = 1

    def check(self, at: str) -> None:
        super().check(at)
        check_counts(self, at, "rounds", most=1000)

    def start_density(self) -> float | None:
        return None

    def plan(self, steps: int) -> Plan:
        return static()

    def first(
        self, network: nn.Module, streams: Streams, loss: Callable[[], torch.Tensor]
    ) -> Masks:
        weights = self._weights(network)
        return snip_masks(network, weights, loss, density=self.density, rounds=self.rounds)
