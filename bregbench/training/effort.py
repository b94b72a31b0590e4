"""What training has taken so far: time without evaluation, and multiplications."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bregbench.measures.cost import count_macs, wait
from bregbench.measures.layers import weight_layers
from bregbench.methods.base import Method, Resizing

#: products of a step: outputs, gradients of inputs, gradients of weights
_PRODUCTS = 3


class Meter:
    """Counts the multiplications of the networks that a phase trains.

    A layer multiplies as often as it has weights, times the places where each is used, and these do not
    change when units are left out.

    Args:
        network: the whole network of the phase.
        input_shape: of one image.
    """

    def __init__(self, network: nn.Module, input_shape: tuple[int, ...]) -> None:
        self._network, self._input_shape = network, input_shape
        layers = count_macs(network, input_shape).layers
        sizes = {name: layer.weight.numel() for name, layer in weight_layers(network).items()}
        self._uses = {name: macs / max(sizes[name], 1) for name, macs in layers.items()}
        self.whole = sum(layers.values())
        self._latest: tuple[nn.Module, float] = (network, float(self.whole))

    def of(self, network: nn.Module) -> float:
        """Multiplications for one image by the whole network or a smaller one."""
        if network is not self._latest[0]:
            layers = weight_layers(network).items()
            macs = sum(self._uses[name] * layer.weight.numel() for name, layer in layers)
            self._latest = (network, macs)
        return self._latest[1]

    def effective(self) -> float:
        """Multiplications by weights that are not zero now, for one image."""
        return count_macs(self._network, self._input_shape).effective


@dataclass
class Effort:
    """What the steps of a run have taken; steps that train no network by back-propagation have no macs.

    Attributes:
        seconds: wall time of training.
        cpu_seconds: processor time of the process in it.
        macs: multiplications of forward and backward passes as they were done.
        dense: those of the same steps on the whole network.
        theoretical: those with weights that are not zero, of finished epochs; of steps on the whole
            network also those of the whole gradient of the weights.
        full: images of the present epoch that were seen by the whole network.
        coarse: images of the present epoch that were seen by a smaller one.
        known: whether it was counted from the run's first step.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    macs: float = 0.0
    dense: float = 0.0
    theoretical: float = 0.0
    full: int = 0
    coarse: int = 0
    known: bool = True

    def start(self) -> None:
        """Let the clock run from now on."""
        self._since = time.perf_counter(), time.process_time()

    def stop(self, device: torch.device) -> None:
        """Count the time since `start`, with what the device still had to do."""
        wait(device)
        wall, cpu = self._since
        self.seconds += time.perf_counter() - wall
        self.cpu_seconds += time.process_time() - cpu

    def add(self, images: int, method: Method, meter: Meter) -> None:
        """Count the multiplications of a step."""
        if not isinstance(method, Resizing):
            return
        self.macs += _PRODUCTS * images * meter.of(method.at_work)
        self.dense += _PRODUCTS * images * meter.whole
        if method.at_work is method.network:
            self.full += images
        else:
            self.coarse += images

    def end_epoch(self, meter: Meter) -> dict[str, float]:
        """The metrics `cost/train_*` after an epoch."""
        if self.full or self.coarse:
            effective = meter.effective()
            gradient = self.full * meter.whole + self.coarse * effective
            images = self.full + self.coarse
            self.theoretical += (_PRODUCTS - 1) * images * effective + gradient
            self.full = self.coarse = 0
        return self.metrics()

    def metrics(self) -> dict[str, float]:
        """`cost/train_seconds`, `cost/train_cpu_seconds`, `cost/train_macs` and its relatives."""
        if not self.known:
            return {}
        times = {
            "cost/train_seconds": round(self.seconds, 4),
            "cost/train_cpu_seconds": round(self.cpu_seconds, 4),
        }
        if not self.dense:
            return times
        return times | {
            "cost/train_macs": self.macs,
            "cost/train_macs_dense": self.dense,
            "cost/train_macs_theoretical": self.theoretical,
        }

    @classmethod
    def resumed(cls, state: dict[str, Any] | None) -> Effort:
        """That of a checkpoint; older ones have none, and nothing can be said of the run then."""
        return cls(known=False) if state is None else cls(**state)
