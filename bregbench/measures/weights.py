"""Measures of weights, which need no data; they are taken after every epoch and at the end."""

from __future__ import annotations

from torch import nn

from bregbench.measures.density import active_units, density, l1_norm
from bregbench.measures.modes import modes
from bregbench.measures.units import dead_units


def of_weights(network: nn.Module) -> dict[str, float]:
    """`density/*`, `active_units/*`, `units/*`, `modes/*` of spectral layers, and `l1_norm`."""
    return {
        **density(network),
        **active_units(network),
        **dead_units(network),
        **modes(network),
        "l1_norm": l1_norm(network),
    }
