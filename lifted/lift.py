"""The lifted variables of one batch, and the gradients that each block receives from its neighbours.

Layers count from 0: layer l maps its input x(l) to z_l = f_l(x(l)), and aux[l] stands for
sigma_l(z_l); x(0) is the data, x(l + 1) = aux[l]. After a residual layer x(l + 1) = x(l) + sign
aux[l]. The variable of a residual layer is the output of its branch, so that dom Psi constrains one
variable at a time and the energy stays convex in each variable.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lifted.network import LiftedNetwork
from lifted.penalties import BregmanPenalty, Penalty

_LOSS = BregmanPenalty()


class Lift:
    """Auxiliary variables that start from a forward pass (Algorithm 1, line 4).

    Pre-activations are cached until a variable or a parameter that they depend on changes.

    Args:
        network: The network. Call `parameters_changed` after a change of its parameters.
        inputs: x_0, (samples, ...).
        targets: y in the domain of the loss, (samples, ...).

    Attributes:
        aux: One tensor per hidden layer.
        dual: For mirror steps: a subgradient of the kernel at each auxiliary variable.
        outputs: Outputs of the forward pass, before any change.
    """

    def __init__(self, network: LiftedNetwork, inputs: Tensor, targets: Tensor) -> None:
        self.network = network
        self.targets = targets
        self.samples = len(inputs)
        self.aux: list[Tensor] = []
        self.dual: list[Tensor] = []
        self._inputs: list[Tensor | None] = [inputs]
        self._z: list[Tensor | None] = []
        for number, layer in enumerate(network.layers):
            z = layer.affine.forward(self.layer_input(number))
            self._z.append(z)
            if number + 1 < network.depth:
                self.aux.append(layer.activation(z))
                self.dual.append(self._start_dual(number, z))
                self._inputs.append(None)
        z = self.preactivation(-1)
        final = network.layers[-1].activation
        self.outputs = final(z) if network.ends_with_activation else z

    def layer_input(self, number: int) -> Tensor:
        """x(l), the input of layer l."""
        x = self._inputs[number]
        if x is None:
            layer = self.network.layers[number - 1]
            below = self.aux[number - 1]
            x = (
                torch.add(self.layer_input(number - 1), below, alpha=layer.sign)
                if layer.sign
                else below
            )
            self._inputs[number] = x
        return x

    def preactivation(self, number: int) -> Tensor:
        """z_l = f_l(x(l)) with the present parameters."""
        z = self._z[number]
        if z is None:
            z = self.network.layers[number].affine.forward(self.layer_input(number))
            self._z[number] = z
        return z

    def target(self, number: int) -> Tensor:
        """The tensor that the penalty compares with sigma_l(z_l): an auxiliary variable or targets."""
        return self.aux[number] if number < len(self.aux) else self.targets

    def penalty(self, number: int) -> Penalty:
        """The network's penalty for a hidden layer, the loss for the last layer."""
        return self.network.penalty if number < len(self.aux) else _LOSS

    def residual(self, number: int) -> Tensor:
        """`lambda_l` times the gradient of layer l's penalty in z_l (Lemma 8), per sample."""
        return self.residual_map(number)(self.preactivation(number))

    def residual_map(self, number: int) -> Callable[[Tensor], Tensor]:
        """`residual(number)` as a function of z_l at the present target; it returns a new tensor.

        A loop with a fixed target does all look-ups once by this function.
        """
        weight, target = self.network.lam[number], self.target(number)
        activation = self.network.layers[number].activation
        residual = self.penalty(number).residual
        if weight == 1:
            return lambda z: residual(activation, target, z)
        return lambda z: residual(activation, target, z).mul_(weight)

    def curvature(self, number: int) -> float:
        """A Lipschitz constant of `residual(number)` in z_l."""
        return self.network.lam[number] * self.penalty(number).scale

    def reached(self, number: int) -> range:
        """The layers whose input contains aux[number]: one, or more across residual layers."""
        return self.network.reached[number]

    def gradient(self, number: int) -> Tensor:
        """The gradient in aux[number] of all penalties above it, per sample."""
        total = None
        for above in self.reached(number):
            x = self.layer_input(above)
            part = self.network.layers[above].affine.adjoint(self.residual(above), x)
            total = part if total is None else total + part
        assert total is not None
        return -total if self.network.layers[number].sign < 0 else total

    def set_aux(self, number: int, value: Tensor, dual: Tensor | None = None) -> None:
        """Replace an auxiliary variable, and its dual if there is a new one."""
        self.aux[number] = value
        if dual is not None:
            self.dual[number] = dual
        for above in self.reached(number):
            self._inputs[above] = self._z[above] = None

    def parameters_changed(self, number: int, z: Tensor | None = None) -> None:
        """Note that layer `number` has new parameters, with pre-activation z if it is known."""
        self._z[number] = z

    def _start_dual(self, number: int, z: Tensor) -> Tensor:
        dual = self.network.penalty.anchor(self.network.layers[number].activation, z)
        term = self.network.regularisers.get(number)
        if term is not None and not term.in_energy:
            dual = dual + term.lam * self.aux[number].sign()
        return dual
