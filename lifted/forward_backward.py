"""One proximal gradient iteration on all blocks: eq. (17), Jacobi or Gauss-Seidel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from lifted.auxiliary_step import AuxiliaryBlock, choose_form, lipschitz, relaxation
from lifted.lift import Lift
from lifted.parameter_step import step_size


@dataclass(frozen=True)
class Pushes:
    """Heavy-ball terms: one per auxiliary variable, and one list per layer for its parameters."""

    aux: Sequence[Tensor | None] = ()
    parameters: Sequence[Sequence[Tensor]] = ()


@dataclass(frozen=True)
class StepRule:
    """Step sizes and forms of all blocks.

    Attributes:
        scale: Step size in units of 1 / (Lipschitz constant), in (0, 2).
        rho: Number that is added to the curvature of parameter steps: scale / rho bounds their size.
        form: `auto`, `prox` or `mirror`.
        pushes: Heavy-ball terms.
    """

    scale: float
    rho: float = 0.0
    form: str = "auto"
    pushes: Pushes = field(default_factory=Pushes)

    def aux_update(self, lift: Lift, number: int) -> tuple[Tensor, Tensor | None]:
        """The new value and dual of one auxiliary variable."""
        form = choose_form(lift, number, self.form)
        kappa = relaxation(lift, number, lipschitz(lift, number), self.scale, form)
        push = self.pushes.aux[number] if self.pushes.aux else None
        return AuxiliaryBlock(lift, number, form).update(kappa, push=push)

    def move_parameters(self, lift: Lift, number: int, x: Tensor, residual: Tensor) -> None:
        """One gradient step on a layer at the given input and residual, in place."""
        affine = lift.network.layers[number].affine
        if not affine.parameters:
            return
        size = step_size(lift, number, affine.parameter_norm(x), rho=self.rho, scale=self.scale)
        affine.add_gradients_(x, residual * (size / -lift.samples))
        if self.pushes.parameters:
            for parameter, push in zip(
                affine.parameters, self.pushes.parameters[number], strict=True
            ):
                parameter.add_(push)
        lift.parameters_changed(number)


def jacobi_step(lift: Lift, rule: StepRule) -> None:
    """Update every block from the old values of all other blocks, as eq. (17) is printed."""
    updates = [rule.aux_update(lift, number) for number in range(len(lift.aux))]
    depth = range(lift.network.depth)
    old = [(lift.layer_input(number), lift.residual(number)) for number in depth]
    for number in depth:
        rule.move_parameters(lift, number, *old[number])
    for number, update in enumerate(updates):
        lift.set_aux(number, *update)


def gauss_seidel_step(lift: Lift, rule: StepRule) -> None:
    """Update Theta_L, x_{L-1}, Theta_{L-1}, ...: a block sees the new values of the blocks before it."""
    for number in reversed(range(lift.network.depth)):
        rule.move_parameters(lift, number, lift.layer_input(number), lift.residual(number))
        if number:
            lift.set_aux(number - 1, *rule.aux_update(lift, number - 1))
