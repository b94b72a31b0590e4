"""Measurements of any `torch.nn.Module`: density, norms and cost."""

from bregbench.measures.cost import Macs, count_macs, count_parameters, peak_memory_bytes
from bregbench.measures.density import active_units, density, l1_norm, layer_density
from bregbench.measures.modes import modes
from bregbench.measures.weights import of_weights

__all__ = [
    "Macs",
    "active_units",
    "count_macs",
    "count_parameters",
    "density",
    "l1_norm",
    "layer_density",
    "modes",
    "of_weights",
    "peak_memory_bytes",
]
