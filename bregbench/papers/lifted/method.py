"""Lifted training: the solvers of `lifted` on networks of the bench, with the energy as a metric.

Source: Wang, Benning, "Lifted Bregman training of neural networks", JMLR 24(232), 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

import torch
from torch import nn

import lifted
from bregbench.foundations.errors import BenchError
from bregbench.foundations.identity import chosen, fill_chosen
from bregbench.foundations.ranges import check_numbers
from bregbench.foundations.streams import Streams
from bregbench.methods.base import MethodConfig, Step
from bregbench.methods.start import StartConfig, glorot_start
from bregbench.objectives import ObjectiveConfig
from bregbench.papers.lifted.chain import Chain, lift_network
from bregbench.papers.lifted.code import CodeConfig
from bregbench.papers.lifted.looking import forward_metrics, looked_at
from bregbench.papers.lifted.solver import SolverConfig, is_deterministic
from bregbench.papers.lifted.solvers import Implicit
from bregbench.tasks.context import RunContext
from lifted.activation import Activation
from lifted.choices import PenaltyName
from lifted.solver import Solver

#: smallest factor of learning rates: zero would make proximal weights infinite
_SMALLEST_FACTOR = 1e-9


class Loss(StrEnum):
    """Bregman loss of the outputs; `own` uses the final activation, or half the squared error without one."""

    own = "own"
    squared = "squared"
    cross_entropy = "cross_entropy"
    binary_cross_entropy = "binary_cross_entropy"

    def activation(self) -> Activation | None:
        """The activation that defines the Bregman loss; None for the final activation of the network."""
        kinds = {
            Loss.squared: lifted.Identity,
            Loss.cross_entropy: lifted.Softmax,
            Loss.binary_cross_entropy: lifted.Sigmoid,
        }
        return kinds[self]() if self in kinds else None


@dataclass
class Lifted(MethodConfig):
    """Training without the chain rule, and its baselines on the same network and loss.

    Attributes:
        solver: solver that moves parameters and auxiliary variables.
        penalty: penalty between each hidden output and the layer that computes it.
        loss: loss of the outputs.
        lam: weight lambda_l of the penalties of hidden layers.
        layer_lam: one weight per hidden layer, given instead of lam.
        code: an l1 norm on one hidden output.
        multiplier_rate: after each epoch, weights grow by this rate times the mean penalty (B.3).
        start: the weights that training starts from.
    """

    kind: ClassVar[str] = "lifted"
    follows_gradients: ClassVar[bool] = False
    solver: SolverConfig = chosen(Implicit)
    penalty: PenaltyName = PenaltyName.bregman
    loss: Loss = Loss.own
    lam: float = 1.0
    layer_lam: list[float] = field(default_factory=list)
    code: CodeConfig = field(default_factory=CodeConfig)
    multiplier_rate: float | None = None
    start: StartConfig = field(default_factory=glorot_start)

    def __post_init__(self) -> None:
        fill_chosen(self)

    def check(self, at: str) -> None:
        """See `MethodConfig.check`."""
        check_numbers(self, at, "lam", "layer_lam", "multiplier_rate", above=0)

    def prepare(self, network: nn.Module, streams: Streams) -> None:
        """Set the starting weights."""
        self.start.apply(network, streams)

    def build(
        self, network: nn.Module, objective: ObjectiveConfig, context: RunContext
    ) -> LiftedTraining:
        """Training of the network by the solver.

        Raises:
            BenchError: the network, the targets or an option do not fit the method.
        """
        self._refuse(objective, context)
        chain = lift_network(
            network,
            context.data.classes,
            loss=self.loss.activation(),
            lam=self.layer_lam or self.lam,
            penalty=self.penalty,
            regularisers=self.code.regularisers(),
        )
        try:
            solver = self.solver.build(chain.network, network, context)
            chain.network.check_targets(looked_at(chain, context.data.train, context, "train")[1])
        except ValueError as error:
            raise BenchError(f"method=lifted, solver {self.solver.kind}: {error}") from error
        multipliers = None
        if self.multiplier_rate is not None:
            rate = self.multiplier_rate
            if isinstance(solver, lifted.BackPropagation):
                raise BenchError(
                    f"method.multiplier_rate={rate} has no meaning for back_propagation, which has "
                    "no penalties: leave it out"
                )
            multipliers = lifted.Multipliers(solver, rate=rate)
        return LiftedTraining(
            network,
            chain,
            solver,
            context,
            rates=self.solver.rates(context),
            multipliers=multipliers,
        )

    def _refuse(self, objective: ObjectiveConfig, context: RunContext) -> None:
        if objective.kind != "plain":
            raise BenchError(
                f"objective={objective.kind} has no meaning for method=lifted, which differentiates "
                "nothing: leave it out; method.code and method.penalty say what is minimised"
            )
        for option, given in (("precision=bf16", context.bf16), ("compile=true", context.compile)):
            if given:
                raise BenchError(
                    f"trainer.{option} has no meaning for method=lifted, whose steps are no forward "
                    "passes: leave it out"
                )


class LiftedTraining:
    """A network of the bench trained by a solver of `lifted`, which shares its parameters."""

    remedy: ClassVar[str] = "lower method.solver.step_scale (or lr), or raise rho"

    def __init__(
        self,
        network: nn.Module,
        chain: Chain,
        solver: Solver,
        context: RunContext,
        *,
        rates: tuple[str, float],
        multipliers: lifted.Multipliers | None = None,
    ) -> None:
        self.network = network
        self.solver = solver
        self._chain = chain
        self._context = context
        self._rates = rates
        self._multipliers = multipliers
        self._factor = 1.0
        self._sums: torch.Tensor | None = None
        self._batches = 0
        if isinstance(solver, lifted.BackPropagation):
            return
        solver.observers.append(self._observe)

    @torch.no_grad()
    def step(
        self, inputs: torch.Tensor, targets: torch.Tensor, indices: torch.Tensor | None = None
    ) -> Step:
        """Solve one batch; loss and outputs come from the forward pass before the solver's step."""
        back = None
        wanted = self._chain.targets(targets)
        if is_deterministic(self.solver):
            # The solver keeps its variables in a fixed order of images; the loader shuffles them.
            if indices is None:
                raise ValueError("a deterministic solver needs to know which images it sees")
            order = indices.argsort()
            back = order.argsort()
            inputs, wanted, indices = inputs[order], wanted[order], indices[order]
        try:
            result = self.solver.step(self._chain.inputs(inputs), wanted, indices)
        except (ValueError, torch.linalg.LinAlgError) as error:  # pyright: ignore[reportPrivateImportUsage]
            raise BenchError(f"method=lifted: {error}".splitlines()[0]) from error
        outputs = self._chain.outputs(result.outputs if back is None else result.outputs[back])
        return Step(self._context.task.loss(outputs, targets), outputs)

    def end_epoch(self, metrics: dict[str, float]) -> dict[str, float]:
        """Metrics of the energy and of the forward pass, as `docs/metrics.md` defines them.

        Raises:
            BenchError: a metric is not finite.
        """
        try:
            self.solver.check()
        except lifted.DivergenceError as error:
            raise BenchError(f"method=lifted: {error}") from error
        found = self._read_sums() | self._look()
        for name, value in found.items():
            if not math.isfinite(value):
                raise BenchError(f"{name} became {value}: {self.remedy}")
        name, rate = self._rates
        found[name] = rate / self._factor if name == "rho" else rate * self._factor
        if self._multipliers is not None:
            for number, weight in enumerate(self._chain.network.lam[:-1], start=1):
                found[f"lifted/lam/layer{number}"] = weight
            self._multipliers.update()
        return found

    def scale_lr(self, factor: float) -> None:
        """Scale learning rates; proximal weights are divided by the factor."""
        self._factor = max(factor, _SMALLEST_FACTOR)
        self.solver.scale_lr(self._factor)

    def variants(self) -> dict[str, nn.Module]:
        """The trained network."""
        return {"trained": self.network}

    def describe(self) -> str:
        """The layers with their activations and weights."""
        network = self._chain.network
        lines = []
        for number, layer in enumerate(network.layers, start=1):
            shapes = " ".join(str(tuple(p.shape)) for p in layer.affine.parameters)
            role = "loss" if number == network.depth else f"lambda {network.lam[number - 1]:g}"
            lines.append(f"layer {number}: {shapes}, {layer.activation}, {role}")
        return "\n".join(lines) + "\n"

    def notes(self) -> list[str]:
        """Notes of the solver."""
        return self.solver.notes()

    def state_dict(self) -> dict[str, Any]:
        """State of the solver, of the multipliers, and of the epoch's sums."""
        state: dict[str, Any] = {
            "solver": self.solver.state_dict(),
            "factor": self._factor,
            "sums": self._sums,
            "batches": self._batches,
        }
        if self._multipliers is not None:
            state["multipliers"] = self._multipliers.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.solver.load_state_dict(state["solver"])
        self._factor = state["factor"]
        self._sums, self._batches = state["sums"], state["batches"]
        if self._multipliers is not None:
            self._multipliers.load_state_dict(state["multipliers"])

    def _observe(self, lift: lifted.Lift) -> None:
        """Add up the energy of a solved batch and the zeros of its auxiliary variables."""
        terms = lifted.energy(lift)
        zeros = [(x == 0).float().mean() for x in lift.aux]
        seen = torch.stack([terms.total, terms.penalties.sum(), *zeros]).double()
        self._sums = seen if self._sums is None else self._sums + seen
        self._batches += 1

    def _read_sums(self) -> dict[str, float]:
        if self._sums is None:
            return {}
        energy, gap, *zeros = (self._sums / self._batches).tolist()
        self._sums, self._batches = None, 0
        found = {"lifted/energy": energy, "lifted/gap": gap}
        for number, share in enumerate(zeros, start=1):
            found[f"lifted/auxiliary_sparsity/layer{number}"] = share
        return found

    def _look(self) -> dict[str, float]:
        """Metrics of the forward pass on the first training and validation images."""
        data = self._context.data
        found = forward_metrics(self._chain, data.train, self._context, "train")
        if len(data.validation):
            seen = forward_metrics(self._chain, data.validation, self._context, "validation")
            found["lifted/validation_loss"] = seen["lifted/loss"]
        return found
