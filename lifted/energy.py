"""The energy E(Theta, X) of eqs. (13), (25), (26), averaged over the samples."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lifted.lift import Lift


class Energy(NamedTuple):
    """Terms of the energy, each a mean over samples.

    Attributes:
        total: Loss + weighted penalties + variational regularisers.
        loss: The Bregman loss of the last layer at the auxiliary variables.
        penalties: The penalty of each hidden layer without its weight; 0 where x = sigma(z).
        regulariser: The terms on auxiliary variables that belong to the energy.
    """

    total: Tensor
    loss: Tensor
    penalties: Tensor
    regulariser: Tensor


@torch.no_grad()
def energy(lift: Lift) -> Energy:
    """The energy of a network and its present auxiliary variables."""
    network = lift.network
    values = torch.stack(
        [
            lift.penalty(number).value(
                layer.activation, lift.target(number), lift.preactivation(number)
            ).mean()
            for number, layer in enumerate(network.layers)
        ]
    )  # fmt: skip
    terms = [
        term.value(lift.aux[number]).mean()
        for number, term in network.regularisers.items()
        if term.in_energy
    ]
    regulariser = torch.stack(terms).sum() if terms else values.new_zeros(())
    # The weights stay Python numbers, because the copy of a tensor to a GPU would have to be awaited.
    weighted = [weight * value for weight, value in zip(network.lam, values, strict=True)]
    total = torch.stack(weighted).sum() + regulariser
    return Energy(total, values[-1], values[:-1], regulariser)
