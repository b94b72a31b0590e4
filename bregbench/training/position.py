"""How far a run has come, and where its tensors lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class Position:
    """How far a run has come.

    Attributes:
        phase: index of the phase at work.
        phase_epochs: finished epochs of that phase.
        epochs: finished epochs of the run.
        steps: training steps of the run.
        seconds: training time of the run, up to the last finished epoch.
        epoch_seconds: training time of the epoch at work.
    """

    phase: int = 0
    phase_epochs: int = 0
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0


def to_channels_last(network: torch.nn.Module) -> None:
    """Give convolution weights the layout; `Module.to` refuses the five axes of spectral layers.

    With one channel a tensor is contiguous in either layout, so `contiguous` would leave the strides as
    they are, and these decide in which layout a convolution answers.
    """
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def on_cpu(state: Any) -> Any:
    """Generator states are CPU tensors, whatever device the checkpoint was loaded onto."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {key: on_cpu(value) for key, value in state.items()}
    return state
