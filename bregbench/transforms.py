"""What a phase may begin with beyond cuts by magnitude: what Gamma has selected, growing, tickets."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from bregbench import cutting
from bregbench.checks import require
from bregbench.cutting import Begun, Masks, TransformConfig, Turn
from bregbench.errors import BenchError
from bregbench.identity import local
from bregbench.methods.dessilbi import EMPTY_GAMMA, Dessilbi, SplitTraining
from bregbench.structure import in_chain
from bregman import apply_masks, magnitude_masks
from dessilbi import filter_masks, grow, mask_filters, shrink, weight_masks
from dessilbi.branches import bypass_layer
from dessilbi.growing import carry_state, grown_widths, resnet_growth, vgg_growth
from dessilbi.masking import align_filters, silent_sums
from dessilbi.removal import fixed_layers
from dessilbi.resizing import output_axis
from dessilbi.tickets import random_masks

if TYPE_CHECKING:
    from bregbench.methods import Method, MethodConfig


class Selected(Enum):
    """What Gamma keeps or drops as a whole; with `layer`, filters and layers without any."""

    entry = "entry"
    filter = "filter"
    layer = "layer"


@dataclass
class Rewinding(TransformConfig):
    """A transform that can put the weights back to those of an earlier epoch.

    Attributes:
        rewind: epoch of the run whose weights are taken, 0 being its start; None keeps the present
            ones.
    """

    rewind: int | None = None

    def check(self, phase: str) -> None:
        allowed = "an epoch from 0 on, or null to keep the weights"
        require(
            self.rewind is None or self.rewind >= 0,
            f"phases.{phase}.begin.rewind",
            self.rewind,
            allowed,
        )

    def rewinds(self) -> list[int]:
        return [] if self.rewind is None else [self.rewind]

    def go_back(self, turn: Turn) -> None:
        """Put the weights and norm statistics back.

        Raises:
            BenchError: the network's structure has changed since.
        """
        if self.rewind is None:
            return
        try:
            turn.network.load_state_dict(turn.snapshot(self.rewind))
        except RuntimeError as error:
            raise BenchError(
                f"phases.{turn.phase}.begin.rewind={self.rewind}: the network had another structure "
                "in that epoch; rewind before anything is removed or grown"
            ) from error


@dataclass
class SupportPruning(Rewinding):
    """Keep what DessiLBI's Gamma has selected in the phase before (equations 21, 22).

    Single weights are masked for the phase. Filters, and layers of which nothing is selected, are
    removed, so that the network is smaller: with all that belongs to them behind the norm layer, so
    that removal changes no output. Filters that cannot be removed, such as those on a residual
    stream with padded shortcuts, are kept; of a stream with convolutions as shortcuts every layer
    keeps what one of them keeps. A layer of a residual branch without support takes the branch with
    it, unless nothing would be left beside it; one of a chain is bypassed where its shape allows, or
    keeps its strongest filter.

    Attributes:
        by: what is kept or dropped as a whole.
        cap: of filters: at most this share of each layer is kept, the first selected first.
        convolutions_only: of single weights: leave Linear layers whole, as for winning tickets.
    """

    kind: ClassVar[str] = "support_pruning"
    by: Selected = Selected.entry
    cap: float | None = None
    convolutions_only: bool = False

    def check(self, phase: str) -> None:
        super().check(phase)
        key = f"phases.{phase}.begin"
        require(self.cap is None or 0 < self.cap <= 1, f"{key}.cap", self.cap, "in (0, 1]")
        require(
            self.cap is None or self.by is not Selected.entry,
            f"{key}.cap",
            self.cap,
            f"left out with {key}.by=entry",
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
        keep, bypassed = self._filters(turn, split)
        self.go_back(turn)
        for name in bypassed:
            bypass_layer(turn.network, name, example=turn.example)
        mask_filters(turn.network, keep, example=turn.example)
        return Begun(network=shrink(turn.network, example=turn.example))

    def _filters(self, turn: Turn, split: SplitTraining) -> tuple[Masks, list[str]]:
        """Which filters to keep, and the layers to be bypassed."""
        network, example = turn.network, turn.example
        masks = filter_masks(network, split.optimizer, cap=self.cap, path=split.path)
        _require_support(masks, turn.phase)
        fixed = fixed_layers(network, example=example)
        keep: Masks = {}
        bypassed: list[str] = []
        for name, mask in masks.items():
            layer = name.removesuffix(".weight")
            chained = not mask.any() and in_chain(network, layer)
            if chained and self.by is Selected.layer and _bypassable(network, layer, example):
                bypassed.append(layer)
                continue
            if not mask.any() and (chained or self.by is Selected.filter):
                mask = _strongest(network, split, layer)
            if layer not in fixed or not mask.any():
                keep[name] = mask
        while sums := silent_sums(network, keep):
            # The summand for which the fewest layers have to get a filter: a shortcut, mostly.
            for layer in min(sums[0], key=len):
                keep[f"{layer}.weight"] = _strongest(network, split, layer)
        return align_filters(network, keep, example=example), bypassed


@dataclass
class RandomPruning(Rewinding):
    """Keep random weights: the comparison that a ticket has to win.

    Attributes:
        density: share of each layer's weights that is kept; None for as many as DessiLBI's Gamma has
            selected there in the phase before.
        convolutions_only: leave Linear layers whole.
    """

    kind: ClassVar[str] = "random_pruning"
    density: float | None = None
    convolutions_only: bool = True

    def check(self, phase: str) -> None:
        super().check(phase)
        require(
            self.density is None or 0 < self.density <= 1,
            f"phases.{phase}.begin.density",
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
            kinds = cutting.CONVOLUTIONS if self.convolutions_only else _ALL
            counts = magnitude_masks(
                turn.network, density=self.density, scope="layer", modules=kinds
            )
        # A generator for each phase, so that none has a state that a checkpoint could miss.
        generator = turn.streams.generator(f"random_pruning/{turn.phase}")
        device = next(turn.network.parameters()).device
        drawn = random_masks(counts, generator=generator)
        masks = {name: mask.to(device) for name, mask in drawn.items()}
        self.go_back(turn)
        apply_masks(turn.network, masks)
        return Begun(network=turn.network, masks=masks)


@dataclass
class MagnitudeTicket(Rewinding):
    """Keep the largest convolution weights and rewind: winning tickets by magnitude.

    Attributes:
        density: share of all convolution weights that is kept, of all there are.
        relative: a share of those that are not zero instead; in a phase that is repeated, each round
            prunes what the one before has left (iterative pruning).
    """

    kind: ClassVar[str] = "magnitude_ticket"
    density: float = 0.1
    relative: bool = False

    def check(self, phase: str) -> None:
        super().check(phase)
        key = f"phases.{phase}.begin.density"
        require(0 < self.density <= 1, key, self.density, "in (0, 1]")

    def begin(self, turn: Turn) -> Begun:
        share = self.density * (_left(turn.network) if self.relative else 1.0)
        masks = magnitude_masks(
            turn.network, density=share, scope="global", modules=cutting.CONVOLUTIONS
        )
        self.go_back(turn)
        apply_masks(turn.network, masks)
        return Begun(network=turn.network, masks=masks)


class GrowthRule(Enum):
    """By how much a layer grows: at least eight filters (VGG16) or four (ResNet56), or a tenth."""

    vgg = "vgg"
    resnet = "resnet"


class GrowthMode(Enum):
    """Start anew around new filters, as published, or keep outputs and state."""

    reset = "reset"
    preserve = "preserve"


@dataclass
class Grow(TransformConfig):
    """Append filters to layers of which Gamma has selected nearly all; where none has, leave out.

    Attributes:
        threshold: of `#supp Gamma / #supp W` in filters (equation 23).
        rule: by how much.
        mode: `reset` or `preserve`, see `dessilbi.growing.grow`.
    """

    kind: ClassVar[str] = "grow"
    threshold: float = 0.8
    rule: GrowthRule = GrowthRule.vgg
    mode: GrowthMode = GrowthMode.reset

    def check(self, phase: str) -> None:
        key = f"phases.{phase}.begin.threshold"
        require(0 < self.threshold <= 1, key, self.threshold, "in (0, 1]")

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
                mode=self.mode.value,
                generator=generator,
                example=turn.example,
            )
        except ValueError as error:
            raise BenchError(f"phases.{turn.phase}.begin: {error}") from error

        def carry(method: Method) -> None:
            assert isinstance(method, SplitTraining)
            carry_state(turn.network, split.optimizer, grown, method.optimizer)

        return Begun(network=grown, carry=carry if self.mode is GrowthMode.preserve else None)


@dataclass
class Transfer(TransformConfig):
    """Begin with a finished run's masks, or its weights: tickets on another data set.

    What is zero in the run's Linear and convolution weights stays zero during the phase. Layers of
    another shape, such as the last one for another number of classes, are left alone.

    Attributes:
        run: the run directory or record; its weights, not its place, decide the run's identity.
        weights: take its weights, too; without, the network keeps its own under the run's masks.
        source: `experiment/name-hash/seed` of the run, which then decides the identity in place of its
            weights. Tables set it, because they know their runs by name before any is trained.
    """

    kind: ClassVar[str] = "transfer"
    run: str = local("")
    weights: bool = False
    source: str = ""

    def check_order(self, phase: str, last: MethodConfig | None) -> None:
        key = f"phases.{phase}.begin.run"
        require(bool(self.run.strip()), key, "(empty)", "a run directory or record")

    def fingerprint(self) -> str | None:
        """Digest of the run's weights; None where no run is named, or `source` names it."""
        if not self.run or self.source:
            return None
        digest = hashlib.sha256()
        for name, tensor in sorted(self._state().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def portable(self) -> Transfer:
        parts = Path(self.run).parts
        return replace(self, run="/".join(parts[-3:]))

    def begin(self, turn: Turn) -> Begun:
        place = "/".join(Path(self.run).parts[-3:])
        if self.source and place != self.source:
            raise BenchError(
                f"phases.{turn.phase}.begin.run={self.run} is not the run {self.source} that "
                f"phases.{turn.phase}.begin.source names: leave source out"
            )
        saved = self._state()
        own = turn.network.state_dict()
        fitting = {
            name: tensor
            for name, tensor in saved.items()
            if name in own and own[name].shape == tensor.shape and not name.startswith("normalize.")
        }
        masks: Masks = {
            name: fitting[name] != 0
            for name in magnitude_masks(turn.network, density=1.0)
            if name in fitting
        }
        if not masks:
            raise BenchError(
                f"phases.{turn.phase}.begin.run={self.run}: no layer has the shapes of this network; "
                "use the same model"
            )
        if self.weights:
            turn.network.load_state_dict(own | fitting)
        apply_masks(turn.network, masks)
        device = next(turn.network.parameters()).device
        return Begun(
            network=turn.network, masks={name: mask.to(device) for name, mask in masks.items()}
        )

    def _state(self) -> Mapping[str, torch.Tensor]:
        # Loading builds networks from configs, which know this module.
        from bregbench.loading import load_run

        return load_run(self.run).state_dict()


_ALL = (nn.Linear, *cutting.CONVOLUTIONS)

TRANSFORMS: tuple[type[TransformConfig], ...] = (
    *cutting.TRANSFORMS,
    SupportPruning,
    RandomPruning,
    MagnitudeTicket,
    Grow,
    Transfer,
)


def _require_dessilbi(transform: TransformConfig, phase: str, last: MethodConfig | None) -> None:
    if not isinstance(last, Dessilbi):
        found = "it is the first" if last is None else f"the phase before has method={last.kind}"
        raise BenchError(
            f"phases.{phase}.begin={transform.kind} needs a phase with method=dessilbi before it, "
            f"and {found}: put one there"
        )


def _require_support(masks: Masks, phase: str) -> None:
    if not any(bool(mask.any()) for mask in masks.values()):
        raise BenchError(f"phases.{phase}.begin has nothing to keep: {EMPTY_GAMMA}")


def _split(turn: Turn) -> SplitTraining:
    assert isinstance(turn.method, SplitTraining)  # as `check_order` requires
    return turn.method


def _left(network: nn.Module) -> float:
    """Share of the convolution weights that are not zero."""
    weights = [m.weight for m in network.modules() if isinstance(m, cutting.CONVOLUTIONS)]
    return sum(int(w.count_nonzero()) for w in weights) / sum(w.numel() for w in weights)


def _bypassable(network: nn.Module, layer: str, example: torch.Tensor) -> bool:
    """Whether a layer of a chain keeps the shape of its input."""
    try:
        bypass_layer(copy.deepcopy(network), layer, example=example)
    except ValueError:
        return False
    return True


def _strongest(network: nn.Module, split: SplitTraining, layer: str) -> torch.Tensor:
    """The one filter with the largest norm of V."""
    module = network.get_submodule(layer)
    weight = module.get_parameter("weight")
    dual = split.optimizer.dual(weight).transpose(0, output_axis(module)).flatten(1)
    mask = torch.zeros(len(dual), dtype=torch.bool, device=dual.device)
    mask[torch.linalg.vector_norm(dual, dim=1).argmax()] = True
    return mask
