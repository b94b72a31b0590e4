"""Implicit stochastic lifted Bregman learning: Algorithm 1 and eq. (24)."""

from __future__ import annotations

from torch import Tensor

from bregman.validation import check_choice, check_count, check_non_negative
from lifted.affine import DenseMap
from lifted.auxiliary_step import AuxiliaryBlock, choose_form, lipschitz, relaxation
from lifted.choices import Order, XStep
from lifted.lift import Lift
from lifted.network import LiftedNetwork
from lifted.norms import REFRESH, DriftingNorm
from lifted.parameter_step import ParameterBlock, parameter_block
from lifted.solver import Solver, check_step_scale
from lifted.sweeps import fit_parameters, sweep_auxiliary


class ImplicitStochastic(Solver):
    """Solves the lifted problem of every batch with a proximal term at the parameters before it.

    For every batch, auxiliary variables start from a forward pass and are dropped afterwards. The
    problem of a batch is

        min over Theta, X   mean over the batch of E(Theta, X) + rho/2 |Theta - Theta^k|^2

    Args:
        network: The network.
        rho: Proximal weight; 1/rho plays the part of a learning rate. `paper_rho` converts the paper's
            tau^k.
        iterations: N, steps per block.
        order: `layer`: from the top down, N pairs of steps in (Theta_l, x_{l-1}) before the next
            layer, as Algorithm 1 is written; `sweep`: N sweeps, each from the top down; or
            `alternating`: N sweeps over X with Theta^k, then N steps in every Theta_l, the cheapest.
        step_scale: Step size in units of 1 / (Lipschitz constant), in (0, 2); mirror steps use at
            most 1.
        x_step: `prox` (as printed), `mirror` (needs sigma only), or `auto`: `prox` where the prox is a
            formula, else `mirror`.
        gram: Whether parameter steps may run in Gram form; False serves comparisons.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        network: LiftedNetwork,
        *,
        rho: float = 1.0,
        iterations: int = 15,
        order: str = "alternating",
        step_scale: float = 1.9,
        x_step: str = "auto",
        gram: bool = True,
    ) -> None:
        super().__init__(network)
        check_non_negative("rho", rho)
        check_count("iterations", iterations)
        check_choice("order", order, Order)
        check_choice("x_step", x_step, XStep)
        check_step_scale(step_scale)
        self.rho, self.iterations, self.order = float(rho), int(iterations), order
        self.step_scale, self.x_step, self.gram = step_scale, x_step, gram

    def _update(self, lift: Lift, indices: Tensor | None) -> None:
        if self.order == "layer":
            self._by_layer(lift)
        elif self.order == "sweep":
            self._by_sweep(lift)
        else:
            sweep_auxiliary(lift, self.iterations, scale=self.step_scale, form=self.x_step)
            fit_parameters(
                lift,
                self.iterations,
                rho=self.rho / self._factor,
                scale=self.step_scale,
                gram=self.gram,
            )

    def _by_layer(self, lift: Lift) -> None:
        for number in reversed(range(self.network.depth)):
            pair = _Pair(lift, number, self)
            pair.run(self.iterations)
            pair.finish()

    def _by_sweep(self, lift: Lift) -> None:
        pairs = [_Pair(lift, number, self) for number in reversed(range(self.network.depth))]
        for _ in range(self.iterations):
            for pair in pairs:
                pair.run(1)
        for pair in pairs:
            pair.finish()


class _Pair:
    """Theta_l and the auxiliary variable below it, moved in turn."""

    def __init__(self, lift: Lift, number: int, solver: ImplicitStochastic) -> None:
        self._lift, self._number, self._scale = lift, number, solver.step_scale
        affine = lift.network.layers[number].affine
        self._block: ParameterBlock | None = None
        if affine.parameters:
            self._block = parameter_block(
                lift,
                number,
                rho=solver.rho / solver._factor,
                scale=solver.step_scale,
                moving=number > 0,
                gram=solver.gram,
            )
        self._aux: AuxiliaryBlock | None = None
        if number:
            form = choose_form(lift, number - 1, solver.x_step)
            self._aux = AuxiliaryBlock(lift, number - 1, form)
        self._drift = DriftingNorm()
        self._calls = 0
        self._bound: Tensor | None = None

    def run(self, steps: int) -> None:
        if self._aux is None:
            if self._block is not None:
                self._block.run(steps)
            return
        for _ in range(steps):
            if self._block is not None:
                self._block.run(1)
            kappa = relaxation(
                self._lift, self._aux.number, self._lipschitz(), self._scale, self._aux.form
            )
            self._aux.step(kappa)

    def finish(self) -> None:
        if self._block is not None:
            self._block.finish()

    def _lipschitz(self) -> Tensor:
        """L of the layers above x_{l-1}: bounded at every step for one dense layer, else refreshed."""
        below = self._number - 1
        affine = self._lift.network.layers[self._number].affine
        if isinstance(affine, DenseMap) and len(self._lift.reached(below)) == 1:
            norms = {self._number: self._drift(affine.linear.weight)}
            return lipschitz(self._lift, below, norms)
        if self._bound is None or self._calls % REFRESH == 0:
            self._bound = lipschitz(self._lift, below)
        self._calls += 1
        return self._bound
