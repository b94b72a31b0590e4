"""From a network of the bench to a lifted one: what is trained in between, what stands around it."""

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
        network: layers from the first to the last one with parameters.
        front: what is done to images before them: normalisation, flattening.
        back: what makes images of their outputs; empty for classifiers.
        classes: number of labels.
    """

    network: lifted.LiftedNetwork
    front: nn.Sequential
    back: nn.Sequential
    classes: int

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """What the first layer sees, x_0."""
        return self.front(images)

    def outputs(self, outputs: torch.Tensor) -> torch.Tensor:
        """What the bench's network returns, from what the last layer does."""
        return self.back(outputs)

    def targets(self, targets: torch.Tensor) -> torch.Tensor:
        """What the last layer's output is compared with, y: one-hot labels, or images.

        Images take the way back through what follows the last layer; numbers are outputs of length 1.
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
        network: a chain whose first modules may normalise and flatten, and whose last ones may make
            images of outputs.
        classes: number of labels.
        loss: activation whose Bregman loss is trained; None for that of the final activation, half
            the squared error where there is none.
        lam: weights of the penalties of hidden layers.
        penalty: `bregman`, `classical` or `mac`.
        regularisers: of hidden layers, by number from 1.

    Raises:
        BenchError: not a chain, a layer without lifted form, or values that do not fit its depth.
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
