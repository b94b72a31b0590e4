"""Block coordinate descent: eqs. (35), (36) and its explicit form (38)."""

from __future__ import annotations

from bregman.validation import check_choice, check_count, check_non_negative, check_positive
from lifted.admm import admm_auxiliary, admm_parameters
from lifted.choices import Blocks, Inner, XStep
from lifted.lift import Lift
from lifted.network import LiftedNetwork
from lifted.solver import check_step_scale
from lifted.stored import FullBatchSolver
from lifted.sweeps import fit_parameters, sweep_auxiliary


class BlockCoordinate(FullBatchSolver):
    """Minimises over one convex block after the other: parameters, odd variables, even variables.

    Variables of one block do not depend on each other. One step is one pass over the blocks.

    Args:
        network: The network.
        parameter_steps: Iterations on the parameter block; 1 makes the block explicit, as in (38).
        auxiliary_steps: Iterations on each block of auxiliary variables; 1 makes the blocks explicit.
        blocks: `odd_even` (36), or `each`: x_1, x_2, ... one at a time (35).
        inner: `gradient`: proximal gradient steps; `admm`: ADMM iterations (dense layers only).
        delta: Weight of ADMM's augmented terms, > 0.
        rho: Weight of the proximal term that draws parameters to their values before the step.
        step_scale: Step size in units of 1 / (Lipschitz constant), in (0, 2).
        x_step: `prox`, `mirror` or `auto`.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        network: LiftedNetwork,
        *,
        parameter_steps: int = 15,
        auxiliary_steps: int = 15,
        blocks: str = "odd_even",
        inner: str = "gradient",
        delta: float = 1.0,
        rho: float = 0.0,
        step_scale: float = 1.0,
        x_step: str = "auto",
    ) -> None:
        super().__init__(network)
        check_count("parameter_steps", parameter_steps)
        check_count("auxiliary_steps", auxiliary_steps)
        check_choice("blocks", blocks, Blocks)
        check_choice("inner", inner, Inner)
        check_choice("x_step", x_step, XStep)
        check_positive("delta", delta)
        check_non_negative("rho", rho)
        check_step_scale(step_scale)
        self.parameter_steps, self.auxiliary_steps = parameter_steps, auxiliary_steps
        self.blocks, self.inner, self.delta, self.rho = blocks, inner, delta, rho
        self.step_scale, self.x_step = step_scale, x_step

    def _iterate(self, lift: Lift) -> None:
        rho = self.rho / self._factor
        if self.inner == "admm":
            for number in range(lift.network.depth):
                admm_parameters(lift, number, self.parameter_steps, delta=self.delta, rho=rho)
        else:
            fit_parameters(lift, self.parameter_steps, rho=rho, scale=self.step_scale)
        count = len(lift.aux)
        if self.blocks == "each":
            groups = [[number] for number in range(count)]
        else:  # x_1, x_3, ... have even indices, which count from 0
            groups = [list(range(0, count, 2)), list(range(1, count, 2))]
        for group in groups:
            self._solve_auxiliary(lift, group)

    def _solve_auxiliary(self, lift: Lift, group: list[int]) -> None:
        if self.inner == "admm":
            for number in group:
                admm_auxiliary(lift, number, self.auxiliary_steps, delta=self.delta)
        else:
            sweep_auxiliary(
                lift,
                self.auxiliary_steps,
                scale=self.step_scale,
                form=self.x_step,
                numbers=group,
            )
