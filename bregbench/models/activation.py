"""The activations that a config can name."""

from __future__ import annotations

from enum import StrEnum

from torch import nn


class Activation(StrEnum):
    """Elementwise non-linearity between layers."""

    relu = "relu"
    tanh = "tanh"
    sigmoid = "sigmoid"
    gelu = "gelu"

    def build(self) -> nn.Module:
        """A new module, so that every use in a network is its own instance."""
        modules: dict[Activation, type[nn.Module]] = {
            Activation.relu: nn.ReLU,
            Activation.tanh: nn.Tanh,
            Activation.sigmoid: nn.Sigmoid,
            Activation.gelu: nn.GELU,
        }
        return modules[self]()
