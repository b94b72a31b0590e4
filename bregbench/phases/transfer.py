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
    """Begin with the masks or the weights of a finished run: tickets on another data set.

    Zero entries of that run's Linear and convolution weights stay zero during the phase. Layers with
    another shape, such as the last layer for another number of classes, are left alone.

    Attributes:
        run: run directory or record of the finished run. The hash contains a digest of its weights, and
            not its place.
        weights: True: the network also gets the weights of the finished run; False: the network keeps its
            own weights, under the masks of the finished run.
        source: `experiment/name-hash/seed` of the finished run, which enters the hash in place of the
            digest. Tables set it, because they know their runs by name before they are trained.
    """

    kind: ClassVar[str] = "transfer"
    run: str = local("")
    weights: bool = False
    source: str = ""

    def check_order(self, phase: str, last: MethodConfig | None) -> None:
        key = f"phases.{phase}.begin.run"
        require(bool(self.run.strip()), key, "(empty)", "a run directory or record")

    def fingerprint(self) -> str | None:
        """Digest of the finished run's weights; None without `run`, or with `source`."""
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
