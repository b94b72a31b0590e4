"""Loops over the blocks of one batch: all auxiliary variables, or all parameters."""

from __future__ import annotations

from collections.abc import Iterable

from lifted.auxiliary_step import AuxiliaryBlock, choose_form, lipschitz, relaxation
from lifted.lift import Lift
from lifted.parameter_step import parameter_block


def sweep_auxiliary(
    lift: Lift,
    iterations: int,
    *,
    scale: float,
    form: str = "auto",
    numbers: Iterable[int] | None = None,
) -> None:
    """Gauss-Seidel sweeps over auxiliary variables from the top down, with fixed parameters.

    After a forward pass only the last residual is not zero; going down carries it to the first
    layer in a single sweep.

    Args:
        lift: The variables.
        iterations: How many sweeps.
        scale: Step size in units of 1 / (Lipschitz constant).
        form: `auto`, `prox` or `mirror`.
        numbers: Which variables; all by default.
    """
    chosen = range(len(lift.aux)) if numbers is None else numbers
    plan = []
    for number in sorted(chosen, reverse=True):
        kind = choose_form(lift, number, form)
        kappa = relaxation(lift, number, lipschitz(lift, number), scale, kind)
        plan.append((AuxiliaryBlock(lift, number, kind), kappa))
    for _ in range(iterations):
        for block, kappa in plan:
            block.step(kappa)


def fit_parameters(
    lift: Lift, iterations: int, *, rho: float, scale: float, gram: bool = True
) -> None:
    """Gradient steps on every layer's parameters, with fixed auxiliary variables.

    The sub-problems of the layers are independent, so their order has no effect.
    """
    for number in range(lift.network.depth):
        if lift.network.layers[number].affine.parameters:
            block = parameter_block(lift, number, rho=rho, scale=scale, gram=gram)
            block.run(iterations)
            block.finish()
