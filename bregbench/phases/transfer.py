"""Beginning with the masks or the weights of another run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.identity import local
from bregbench.methods.thresholds import Masks
from bregbench.phases.base import Begun, TransformConfig, Turn
from bregbench.storage.weights import last_weights
from bregman import apply_masks, magnitude_masks

if TYPE_CHECKING:
    from bregbench.methods import MethodConfig


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
        return last_weights(self.run)
