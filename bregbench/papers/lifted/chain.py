"""The lifted form of a network of the bench, without the modules before and after its layers with weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

import lifted
from bregbench.foundations.errors import BenchError
from bregbench.models.normalize import Denormalize, Normalize
from lifted.activation import Activation
from lifted.regularisers import L1Regulariser


@dataclass(frozen=True)
class Chain:
    """A lifted network that shares its parameters with a network of the bench.

    Attributes:
        network: the lifted layers, from the first to the last layer with parameters.
        front: modules before the lifted layers: normalisation, flattening.
        back: modules after the lifted layers, which shape outputs to images; empty for classifiers.
        classes: number of labels.
    """

    network: lifted.LiftedNetwork
    front: nn.Sequential
    back: nn.Sequential
    classes: int

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """The input x_0 of the first layer."""
        return self.front(images)

    def outputs(self, outputs: torch.Tensor) -> torch.Tensor:
        """The output of the bench's network from the output of the last layer."""
        return self.back(outputs)

    def targets(self, targets: torch.Tensor) -> torch.Tensor:
        """The target y of the last layer's output: one-hot labels, images or numbers.

        Images go through the inverse of `back`; numbers become outputs of length 1.
        """
        if targets.is_floating_point() and targets.dim() == 1:
            return targets[:, None]
        if not targets.is_floating_point():
            dtype = next(self.network.parameters()).dtype
            return nn.functional.one_hot(targets, self.classes).to(dtype)
        for module in reversed(self.back):
            targets = (
                module.inverse(targets) if isinstance(module, Denormalize) else targets.flatten(1)
            )
        return targets


def lift_network(
    network: nn.Module,
    classes: int,
    *,
    loss: Activation | None,
    lam: float | list[float],
    penalty: str,
    regularisers: dict[int, L1Regulariser],
) -> Chain:
    """The lifted form of a network, with shared parameters.

    Args:
        network: a chain whose first modules may normalise and flatten, and whose last modules may shape
            outputs to images.
        classes: number of labels.
        loss: activation whose Bregman loss is trained; None for the final activation, or half the squared
            error if there is none.
        lam: weights of the penalties of hidden layers.
        penalty: `bregman`, `classical` or `mac`.
        regularisers: regularisers of hidden layers, by number from 1.

    Raises:
        BenchError: the network is no chain, a layer has no lifted form, or values do not fit the depth.
    """
    if not isinstance(network, nn.Sequential):
        raise BenchError(
            f"method=lifted needs a chain of layers and the network is a {type(network).__name__}: "
            "use model=mlp or model=mlp_autoencoder"
        )
    modules = list(network.named_children())
    begin, end = 0, len(modules)
    while begin < end and isinstance(modules[begin][1], Normalize | nn.Flatten):
        begin += 1
    while end > begin and isinstance(modules[end - 1][1], Denormalize | nn.Unflatten):
        end -= 1
    chain = nn.Sequential()
    for name, module in modules[begin:end]:
        chain.add_module(name, module)
    try:
        converted = lifted.LiftedNetwork(
            chain, loss=loss, lam=lam, penalty=penalty, regularisers=regularisers
        )
    except ValueError as error:
        raise BenchError(f"method=lifted does not fit this network: {error}") from error
    return Chain(
        converted,
        nn.Sequential(*(module for _, module in modules[:begin])),
        nn.Sequential(*(module for _, module in modules[end:])),
        classes,
    )
