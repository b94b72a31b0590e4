"""Measurements of any `torch.nn.Module`: density, norms and cost."""

from bregbench.measures.cost import Macs, count_macs, count_parameters, peak_memory_bytes
from bregbench.measures.density import active_units, density, l1_norm, layer_density
from bregbench.measures.modes import modes
from bregbench.measures.units import dead_units, note_on_unreachable, unreachable_units
from bregbench.measures.weights import of_weights

__all__ = [
    "Macs",
    "active_units",
    "count_macs",
    "count_parameters",
    "dead_units",
    "density",
    "l1_norm",
    "layer_density",
    "modes",
    "note_on_unreachable",
    "of_weights",
    "peak_memory_bytes",
    "unreachable_units",
]
