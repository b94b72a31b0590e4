"""The numbers of Fourier modes that the spectral layers of a network use."""

from __future__ import annotations

import math

from torch import nn

from bregman.modules import uncompiled
from fno import SpectralConv2d
from fno.frequencies import mode_count


def modes(model: nn.Module) -> dict[str, float]:
    """Modes of the spectral layers that are not zero for all pairs of channels.

    Returns:
        ``modes/<layer>``: number of modes of the full spectrum, where k and -k count as two.
        ``modes/total``: sum over the layers. ``modes/kept``: ratio of the sum and the number of modes
        that the layers could have. The result is empty for a network without spectral layers.
    """
    layers = {
        name: layer
        for name, layer in uncompiled(model).named_modules()
        if isinstance(layer, SpectralConv2d)
    }
    if not layers:
        return {}
    counts = {name: mode_count(layer) for name, layer in layers.items()}
    room = sum(math.prod(layer.modes) for layer in layers.values())
    total = sum(counts.values())
    found = {f"modes/{name}": float(count) for name, count in counts.items()}
    return found | {"modes/total": float(total), "modes/kept": total / room}
