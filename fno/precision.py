"""Conversion of narrower numbers to float32 around FFTs, which need float32 or float64."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if its dtype is float64.

    Raises:
        TypeError: the tensor is not real floating point.
    """
    if not tensor.is_floating_point():
        raise TypeError(f"expected a real floating-point tensor, got {tensor.dtype}")
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def without_autocast(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """A context in which autocast leaves float32 alone on the device of the tensor."""
    device = tensor.device.type
    if not torch.amp.is_autocast_available(device):  # such as "meta"
        return contextlib.nullcontext()
    return torch.autocast(device, enabled=False)


def under_autocast(tensor: Tensor) -> bool:
    """Whether autocast is on for the device of the tensor; False on devices without autocast."""
    device = tensor.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
