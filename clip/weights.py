"""The L2 penalty on weights: the term mu |theta| of (6), and the paper's baseline Weight Reg."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor, nn

from clip.quotients import Power


class WeightPenalty:
    """|theta|^power in the Euclidean norm of all weights together.

    Frobenius norms bound spectral norms, so a small penalty bounds the product of layer norms (4), (4.5
    in the thesis). The paper does not say whether its penalty is squared.

    Args:
        model: the network, whose trainable parameters with two or more axes count.
        power: 1, or 2 for the square.
        biases: True: every trainable parameter counts, as in |theta| of (6).

    Raises:
        ValueError: the power is neither 1 nor 2, or no parameter counts.
    """

    def __init__(self, model: nn.Module, *, power: Power = 1, biases: bool = False) -> None:
        if power not in get_args(Power):
            raise ValueError(f"power={power!r}: must be one of {get_args(Power)}")
        self.power = power
        least = 0 if biases else 2
        self.parameters = [
            parameter
            for parameter in model.parameters()
            if parameter.requires_grad and parameter.dim() >= least
        ]
        if not self.parameters:
            raise ValueError("the model has no trainable parameters to penalise")

    def __call__(self) -> Tensor:
        """The penalty, a scalar; its gradient is 0 where all weights are 0."""
        norms = [torch.linalg.vector_norm(parameter) for parameter in self.parameters]
        return torch.linalg.vector_norm(torch.stack(norms)) ** self.power

    def end_epoch(self) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Any]:
        """An empty dictionary: the penalty has no state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing: the penalty has no state."""
