"""Changes of the network between phases of DessiLBI: pruning by support, random pruning, growing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import check_numbers
from bregbench.measures.layers import CONVOLUTIONS
from bregbench.methods.thresholds import Masks
from bregbench.papers.dessilbi.method import EMPTY_GAMMA, Dessilbi, SplitTraining
from bregbench.phases.base import Begun, TransformConfig, Turn
from bregman import apply_masks, magnitude_masks
from dessilbi import grow, mask_filters, shrink, weight_masks
from dessilbi.branches import bypass_layer
from dessilbi.choices import GrowthMode
from dessilbi.growing import carry_state, grown_widths, resnet_growth, vgg_growth
from dessilbi.selection import EmptySelectionError, choose_filters
from dessilbi.tickets import random_masks

if TYPE_CHECKING:
    from bregbench.methods import Method, MethodConfig
from bregbench.phases.rewinding import Rewinding


class Selected(StrEnum):
    """Units that are kept or removed whole; `layer` means filters, and layers without selected filters."""

    entry = "entry"
    filter = "filter"
    layer = "layer"


@dataclass
class SupportPruning(Rewinding):
    """Keep the weights, filters or layers that Gamma selected in the phase before (equations 21, 22).

    Single weights are masked for the phase. Filters and layers are removed, so that the network is smaller;
    a filter is removed together with the channel of its norm layer, so that removal changes no output.
    `dessilbi.selection.choose_filters` decides which filters and layers can be removed.

    Attributes:
        by: units that are kept or removed as a whole.
        cap: largest share of the filters of a layer that is kept, filters that were selected first before
            others; None for no cap.
        convolutions_only: whether Linear layers keep all single weights, as for winning tickets.
    """

    kind: ClassVar[str] = "support_pruning"
    by: Selected = Selected.entry
    cap: float | None = None
    convolutions_only: bool = False

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "cap", above=0, most=1)
        require(
            self.cap is None or self.by is not Selected.entry,
            f"{at}.cap",
            self.cap,
            f"left out with {at}.by=entry",
        )

    def check_order(self, phase: str, last: MethodConfig | None) -> None:
        _require_dessilbi(self, phase, last)

    def begin(self, turn: Turn) -> Begun:
        split = _split(turn)
        if self.by is Selected.entry:
            masks = weight_masks(
                turn.network, split.optimizer, convolutions_only=self.convolutions_only
            )
            _require_support(masks, turn.phase)
            self.go_back(turn)
            apply_masks(turn.network, masks)
            return Begun(network=turn.network, masks=masks)
        try:
            choice = choose_filters(
                turn.network,
                split.optimizer,
                layers=self.by is Selected.layer,
                cap=self.cap,
                path=split.path,
                example=turn.example,
            )
        except EmptySelectionError as error:
            raise _nothing_to_keep(turn.phase) from error
        self.go_back(turn)
        for name in choice.bypassed:
            bypass_layer(turn.network, name, example=turn.example)
        mask_filters(turn.network, choice.keep, example=turn.example)
        return Begun(network=shrink(turn.network, example=turn.example))


@dataclass
class RandomPruning(Rewinding):
    """Keep random weights, as a baseline for winning tickets.

    Attributes:
        density: share of each layer's weights that is kept; None for as many weights as Gamma selected in
            that layer in the phase before.
        convolutions_only: whether Linear layers keep all weights.
    """

    kind: ClassVar[str] = "random_pruning"
    density: float | None = None
    convolutions_only: bool = True

    def check(self, at: str) -> None:
        super().check(at)
        require(
            self.density is None or 0 < self.density <= 1,
            f"{at}.density",
            self.density,
            "in (0, 1], or null for as many as Gamma selects",
        )

    def check_order(self, phase: str, last: MethodConfig | None) -> None:
        if self.density is None:
            _require_dessilbi(self, phase, last)

    def begin(self, turn: Turn) -> Begun:
        if self.density is None:
            counts = weight_masks(
                turn.network, _split(turn).optimizer, convolutions_only=self.convolutions_only
            )
            _require_support(counts, turn.phase)
        else:
            kinds = CONVOLUTIONS if self.convolutions_only else _ALL
            counts = magnitude_masks(
                turn.network, density=self.density, scope="layer", modules=kinds
            )
        # A new generator for each phase needs no state in checkpoints.
        generator = turn.streams.generator(f"random_pruning/{turn.phase}")
        device = next(turn.network.parameters()).device
        drawn = random_masks(counts, generator=generator)
        masks = {name: mask.to(device) for name, mask in drawn.items()}
        self.go_back(turn)
        apply_masks(turn.network, masks)
        return Begun(network=turn.network, masks=masks)


class GrowthRule(StrEnum):
    """Growth of a layer: a tenth of its filters, but at least eight (VGG16) or four (ResNet56)."""

    vgg = "vgg"
    resnet = "resnet"


@dataclass
class Grow(TransformConfig):
    """Append filters to layers of which Gamma has selected nearly all; without such a layer, skip the phase.

    Attributes:
        threshold: smallest `#supp Gamma / #supp W`, counted in filters, at which a layer grows (equation 23).
        rule: by how much a layer grows.
        mode: `reset` or `preserve`, see `dessilbi.growing.grow`.
    """

    kind: ClassVar[str] = "grow"
    threshold: float = 0.8
    rule: GrowthRule = GrowthRule.vgg
    mode: GrowthMode = GrowthMode.reset

    def check(self, at: str) -> None:
        check_numbers(self, at, "threshold", above=0, most=1)

    def check_order(self, phase: str, last: MethodConfig | None) -> None:
        _require_dessilbi(self, phase, last)

    def begin(self, turn: Turn) -> Begun | None:
        split = _split(turn)
        rules: dict[GrowthRule, Callable[[int], int]] = {
            GrowthRule.vgg: vgg_growth,
            GrowthRule.resnet: resnet_growth,
        }
        widths = grown_widths(
            turn.network,
            split.optimizer,
            threshold=self.threshold,
            rule=rules[self.rule],
            example=turn.example,
        )
        if not widths:
            return None
        generator = turn.streams.generator(f"growth/{turn.phase}")
        try:
            grown = grow(
                turn.network,
                widths,
                mode=self.mode,
                generator=generator,
                example=turn.example,
            )
        except ValueError as error:
            raise BenchError(f"phases.{turn.phase}.begin: {error}") from error

        def carry(method: Method) -> None:
            assert isinstance(method, SplitTraining)
            carry_state(turn.network, split.optimizer, grown, method.optimizer)

        return Begun(network=grown, carry=carry if self.mode is GrowthMode.preserve else None)


_ALL = (nn.Linear, *CONVOLUTIONS)


def _require_dessilbi(transform: TransformConfig, phase: str, last: MethodConfig | None) -> None:
    if not isinstance(last, Dessilbi):
        found = "it is the first" if last is None else f"the phase before has method={last.kind}"
        raise BenchError(
            f"phases.{phase}.begin={transform.kind} needs a phase with method=dessilbi before it, "
            f"and {found}: put one there"
        )


def _require_support(masks: Masks, phase: str) -> None:
    if not any(bool(mask.any()) for mask in masks.values()):
        raise _nothing_to_keep(phase)


def _nothing_to_keep(phase: str) -> BenchError:
    return BenchError(f"phases.{phase}.begin has nothing to keep: {EMPTY_GAMMA}")


def _split(turn: Turn) -> SplitTraining:
    assert isinstance(turn.method, SplitTraining)  # as `check_order` requires
    return turn.method
