"""Masks on the bench: what methods whose weights carry masks have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import check_counts, check_numbers
from bregbench.foundations.streams import Streams, derive_seed
from bregbench.methods.backprop import Backprop
from bregbench.methods.base import Step
from bregbench.methods.optimizer import OptimizerConfig
from bregbench.objectives import ObjectiveConfig
from bregbench.papers.rivals.masks import MaskController, Masks, draw_masks, masked_weights
from bregbench.papers.rivals.rewiring import (
    Plan,
)
from bregbench.tasks.context import RunContext


class Base(StrEnum):
    """The optimiser that carries the masks: SGD (with momentum), or Adam with decoupled decay."""

    sgd = "sgd"
    adamw = "adamw"


class Budget(StrEnum):
    """How layers share the density: equally, or by Erdos-Renyi rules without and with kernels."""

    uniform = "uniform"
    er = "er"
    erk = "erk"


@dataclass
class MaskedConfig(OptimizerConfig):
    """An optimiser whose weights carry masks.

    Attributes:
        base: the optimiser.
        momentum: of SGD.
        nesterov: of SGD.
        weight_decay: of all parameters.
        density: share of the masked weights that is kept at the end.
        budget: how the layers divide it, where masks begin at random.
        stem: whether the first layer's weights are masked and counted.
        head: whether the last layer's weights are masked and counted.
        leave: globs on names of further weights that are neither masked nor counted.
        interval: steps between two changes of the masks.
        until: share of training after which they do not change any more.
    """

    base: Base = Base.sgd
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    density: float = 0.1
    budget: Budget = Budget.erk
    stem: bool = True
    head: bool = True
    leave: list[str] = field(default_factory=list)
    interval: int = 100
    until: float = 0.75

    def check(self, at: str) -> None:
        """See `MethodConfig.check`."""
        super().check(at)
        check_numbers(self, at, "momentum", least=0, below=1)
        check_numbers(self, at, "weight_decay", least=0)
        check_numbers(self, at, "density", above=0, most=1)
        check_numbers(self, at, "until", least=0, most=1)
        check_counts(self, at, "interval")
        allowed = f"false without {at}.momentum"
        require(not self.nesterov or self.momentum > 0, f"{at}.nesterov", self.nesterov, allowed)

    def prepare(self, network: nn.Module, streams: Streams) -> None:
        """Set the starting weights, and take away those that the first masks leave out."""
        super().prepare(network, streams)
        weights, masks = self._drawn(network, streams)
        with torch.no_grad():
            for name, weight in weights.items():
                weight.mul_(masks[name].to(weight.device))

    def build(
        self, network: nn.Module, objective: ObjectiveConfig, context: RunContext
    ) -> MaskedTraining:
        """See `OptimizerConfig.build`; the masks come with the first step, or with a checkpoint."""
        optimizer = self.optimizer(network, context)
        steps = context.epochs * context.steps_per_epoch
        return MaskedTraining(
            network,
            optimizer,
            objective,
            context,
            plan=self.plan(steps),
            weights=self._weights(network),
            first=self.first,
            config=self,
        )

    def optimizer(self, network: nn.Module, context: RunContext) -> Optimizer:
        """See `OptimizerConfig.optimizer`."""
        params, decay = network.parameters(), self.weight_decay
        if self.base is Base.adamw:
            return torch.optim.AdamW(params, lr=self.lr, weight_decay=decay)
        return torch.optim.SGD(
            params, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, weight_decay=decay
        )

    def plan(self, steps: int) -> Plan:
        """What changes the masks in a phase of so many steps."""
        raise NotImplementedError

    def start_density(self) -> float | None:
        """Density of random masks to begin with; None: all True."""
        return self.density

    def first(
        self, network: nn.Module, streams: Streams, loss: Callable[[], torch.Tensor]
    ) -> Masks:
        """The masks to begin with; `loss` evaluates the first batch."""
        return self._drawn(network, streams)[1]

    def _weights(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """Weights that carry masks."""
        try:
            names = list(masked_weights(network))
            ends = {0: self.stem, len(names) - 1: self.head}
            out = [names[place] for place, masked in ends.items() if not masked]
            return masked_weights(network, [*self.leave, *out])
        except ValueError as error:
            raise BenchError(f"method={self.kind}: {error}") from error

    def _drawn(self, network: nn.Module, streams: Streams) -> tuple[dict[str, nn.Parameter], Masks]:
        """The same masks at every call: the first step must find those of the starting weights."""
        weights, density = self._weights(network), self.start_density()
        generator = torch.Generator().manual_seed(derive_seed(streams.seed, "masks"))
        return weights, draw_masks(weights, density, self.budget, (), generator)


class MaskedTraining(Backprop):
    """Back-propagation with an optimiser that carries masks.

    Args: as `Backprop`, and
        plan: what changes the masks.
        weights: those that carry masks, by name.
        first: makes the masks of the first step.
        config: says what of the network is masked.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        objective: ObjectiveConfig,
        context: RunContext,
        *,
        plan: Plan,
        weights: dict[str, nn.Parameter],
        first: Callable[[nn.Module, Streams, Callable[[], torch.Tensor]], Masks],
        config: MaskedConfig,
    ) -> None:
        super().__init__(
            network,
            optimizer,
            objective.build(network, context),
            context,
            cut=config.cut,
            recalibrate=config.recalibrate,
        )
        self.masks: MaskController | None = None
        self._plan = plan
        self._weights = weights
        self._first = first
        self._config = config

    def step(
        self, inputs: torch.Tensor, targets: torch.Tensor, indices: torch.Tensor | None = None
    ) -> Step:
        """See `Backprop.step`; before the very first one the masks are made."""
        if self.masks is None:

            def loss() -> torch.Tensor:
                with self._context.autocast():
                    return self._objective(self.network, inputs, targets).total

            self.masks = self._controller(self._first(self.network, self._context.streams, loss))
        return super().step(inputs, targets, indices)

    def end_epoch(self, metrics: dict[str, float]) -> dict[str, float]:
        """Also the density of the masks."""
        found = super().end_epoch(metrics)
        if self.masks is not None:
            found["mask_density/total"] = self.masks.density()
        return found

    def describe(self) -> str:
        """What is masked, and what is not."""
        names = list(masked_weights(self.network))
        rows = [f"{name}  {'masked' if name in self._weights else 'dense'}" for name in names]
        return "\n".join(rows) + "\n"

    def notes(self) -> list[str]:
        """What the density is a share of."""
        every = masked_weights(self.network)
        total = sum(weight.numel() for weight in every.values())
        masked = sum(weight.numel() for weight in self._weights.values())
        said = [f"{n} {'in' if getattr(self._config, n) else 'out'}" for n in ("stem", "head")]
        return [
            *super().notes(),
            f"masks: on {masked} of {total} weights of {len(self._weights)} of {len(every)} layers "
            f"({', '.join(said)})",
        ]

    def state_dict(self) -> dict[str, Any]:
        """Also the masks, their steps and what draws them."""
        state = super().state_dict()
        return state if self.masks is None else state | {"masks": self.masks.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        super().load_state_dict(state)
        if "masks" in state:
            self.masks = self._controller(state["masks"]["masks"])
            self.masks.load_state_dict(state["masks"])

    def _controller(self, masks: Masks) -> MaskController:
        others = set(masked_weights(self.network)) - set(self._weights)
        seed = derive_seed(self._context.streams.seed, "rewiring")
        return MaskController(
            self.network,
            self.optimizer,
            self._plan,
            masks=masks,
            leave=others,
            generator=torch.Generator().manual_seed(seed),
        )
