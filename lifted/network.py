"""Networks for lifted training, which are ordinary modules of torch at the same time.

Source: Wang and Benning (2023), eqs. (13), (25), (26).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bregman.validation import check_positive
from lifted.activation import Activation
from lifted.layers import Layer, convert_module, cut_into_layers
from lifted.penalties import make_penalty
from lifted.piecewise import Identity
from lifted.regularisers import L1Regulariser
from lifted.residual import Residual


class LiftedNetwork(nn.Module):
    """A chain of affine maps and proximal activations with the weights and terms of its lifted energy.

    The parameters are those of the given network, under their old names, so that either network loads
    the state dict of the other. Activations of torch are replaced by those of this package.

    Args:
        network: Linear and convolutional layers, average pooling, flattening, proximal activations
            and `Residual` blocks. A final activation belongs to the loss.
        loss: Activation sigma_L whose Bregman loss compares targets with the last pre-activation:
            `Identity()` is half the squared error, `Softmax()` cross-entropy on logits. Default:
            the final activation, or `Identity()` where there is none. `forward` does not apply `loss`.
        lam: Weights lambda_l of the penalties of the hidden layers: one number, or one per layer.
        penalty: `bregman` (13), `classical` (7) or `mac` (6); see `lifted.penalties`.
        regularisers: Terms on the outputs of hidden layers, by layer number from 1.

    Raises:
        ValueError: A module has no lifted form, a weight is not positive, a layer does not exist,
            or `loss` is given next to a final activation.

    Attributes:
        layers: The layers l = 1..L, with indices from 0.
        lam: Weights of all layers; the last one, of the loss, is 1.
        reached: For each hidden layer, the layers whose input contains its output: the next layer, and
            further ones across residual layers.
    """

    def __init__(
        self,
        network: nn.Sequential,
        *,
        loss: Activation | None = None,
        lam: float | Sequence[float] = 1.0,
        penalty: str = "bregman",
        regularisers: Mapping[int, L1Regulariser] | None = None,
    ) -> None:
        super().__init__()
        chain: list[nn.Module] = []
        self._names = list(network._modules)
        for name, module in network._modules.items():
            assert module is not None
            chain.append(convert_module(module))
            self.add_module(name, chain[-1])
        ends_open = not chain or not isinstance(chain[-1], Activation | Residual)
        default = Identity() if ends_open and loss is None else loss
        self.layers: tuple[Layer, ...] = cut_into_layers(chain, default)
        self.reached = [self._reach(number) for number in range(self.depth - 1)]
        self._reject_shared()
        self.lam = self._weights(lam)
        self.penalty = make_penalty(penalty)
        self.regularisers = self._by_layer(regularisers or {})

    def forward(self, x: Tensor) -> Tensor:
        """The forward pass of the ordinary network: (samples, ...) to (samples, outputs)."""
        for name in self._names:
            x = self.get_submodule(name)(x)
        return x

    @property
    def ends_with_activation(self) -> bool:
        """Whether `forward` returns sigma_L(z_L) and not z_L."""
        return self.get_submodule(self._names[-1]) is self.layers[-1].activation

    @property
    def depth(self) -> int:
        """The number L of layers."""
        return len(self.layers)

    @torch.no_grad()
    def check_targets(self, targets: Tensor) -> None:
        """Raise ValueError unless the loss is finite for these targets; the host waits for the device."""
        activation = self.layers[-1].activation
        if not activation.feasible(targets).all():
            raise ValueError(
                f"targets outside the domain of the loss {type(activation).__name__} (choose "
                "another loss; Identity takes any target)"
            )

    def _reach(self, number: int) -> range:
        last = number + 1
        while self.layers[last].sign:
            last += 1
        return range(number + 1, last + 1)

    def _weights(self, lam: float | Sequence[float]) -> list[float]:
        hidden = len(self.layers) - 1
        weights = list(lam) if isinstance(lam, Sequence) else [lam] * hidden
        if len(weights) != hidden:
            raise ValueError(f"Invalid lam: {lam!r} (must be one number or {hidden} of them)")
        for weight in weights:
            check_positive("lam", weight)
        return [float(weight) for weight in weights] + [1.0]

    def _by_layer(self, regularisers: Mapping[int, L1Regulariser]) -> dict[int, L1Regulariser]:
        hidden = len(self.layers) - 1
        for number in regularisers:
            if not 1 <= number <= hidden:
                raise ValueError(f"Invalid layer: {number!r} (hidden layers are 1..{hidden})")
        return {number - 1: term for number, term in regularisers.items()}

    def _reject_shared(self) -> None:
        seen = [id(p) for layer in self.layers for p in layer.affine.parameters]
        if len(seen) != len(set(seen)):
            raise ValueError("two layers share parameters (each layer needs its own)")
