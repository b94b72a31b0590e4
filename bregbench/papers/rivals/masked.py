"""Masks on the bench: static random masks, SET, RigL, gradual pruning, GraNet and SNIP as methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

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
    gmp_plan,
    granet_plan,
    rigl_plan,
    set_plan,
    static,
)
from bregbench.papers.rivals.snip import snip_masks
from bregbench.tasks.context import RunContext
from bregman import Ramp


class Base(Enum):
    """The optimiser that carries the masks: SGD (with momentum), or Adam with decoupled decay."""

    sgd = "sgd"
    adamw = "adamw"


class Budget(Enum):
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
        return weights, draw_masks(weights, density, self.budget.value, (), generator)


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


@dataclass
class StaticRandom(MaskedConfig):
    """Random masks that never change."""

    kind: ClassVar[str] = "static_random"

    def plan(self, steps: int) -> Plan:
        return static()


@dataclass
class Set(MaskedConfig):
    """Sparse evolutionary training (Mocanu et al., 2018): smallest weights go, random ones come.

    Attributes:
        alpha: share of each layer's weights that is rewired.
    """

    kind: ClassVar[str] = "set"
    alpha: float = 0.3

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "alpha", least=0, most=1)

    def plan(self, steps: int) -> Plan:
        end = round(self.until * steps)
        return set_plan(interval=self.interval, end=end, alpha=self.alpha)


@dataclass
class Rigl(MaskedConfig):
    """RigL (Evci et al., 2020): smallest weights go, those with the largest gradients come.

    Attributes:
        alpha: share of each layer's weights that is rewired at first; a cosine takes it to 0.
        instead: an update takes the place of the optimiser's step, as in the paper.
    """

    kind: ClassVar[str] = "rigl"
    alpha: float = 0.3
    instead: bool = True

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "alpha", least=0, most=1)

    def plan(self, steps: int) -> Plan:
        end = round(self.until * steps)
        return rigl_plan(interval=self.interval, end=end, alpha=self.alpha, instead=self.instead)


@dataclass
class Gmp(MaskedConfig):
    """Gradual magnitude pruning (Zhu, Gupta 2017), step by step along a cubic.

    Attributes:
        begin: share of training before the first weights go.
        by_layer: whether every layer gets the density, instead of all layers competing.
    """

    kind: ClassVar[str] = "gmp"
    begin: float = 0.0
    by_layer: bool = False

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "begin", least=0, most=1)
        require(
            self.begin <= self.until, f"{at}.begin", self.begin, f"at most {at}.until={self.until}"
        )

    def start_density(self) -> float | None:
        return None

    def plan(self, steps: int) -> Plan:
        ramp = Ramp(
            "cubic", self.density, begin=round(self.begin * steps), end=round(self.until * steps)
        )
        return gmp_plan(ramp, interval=self.interval, by_layer=self.by_layer)


@dataclass
class Granet(MaskedConfig):
    """GraNet (Liu et al., 2021): gradual pruning from half the weights, and rewiring by gradient.

    `until` is the share of training over which the density falls; rewiring goes on to the end.

    Attributes:
        initial_density: of the first, random masks.
        alpha: share of each layer's weights that is rewired at first.
        alpha_end: the same at the end.
    """

    kind: ClassVar[str] = "granet"
    until: float = 0.5
    initial_density: float = 0.5
    alpha: float = 0.5
    alpha_end: float = 0.005

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "initial_density", above=0, most=1)
        check_numbers(self, at, "alpha", "alpha_end", least=0, most=1)
        require(
            self.density <= self.initial_density,
            f"{at}.initial_density",
            self.initial_density,
            f"at least {at}.density={self.density}",
        )

    def start_density(self) -> float | None:
        return self.initial_density

    def plan(self, steps: int) -> Plan:
        end = round(self.until * steps)
        ramp = Ramp("cubic", self.density, start=self.initial_density, end=end)
        return granet_plan(
            ramp, interval=self.interval, end=steps, first=self.alpha, last=self.alpha_end
        )


@dataclass
class Snip(MaskedConfig):
    """SNIP (Lee et al., 2019): masks from the first batch, by |w g|; never changed.

    Attributes:
        rounds: 1 is SNIP; more keep density^(k / rounds) in round k.
    """

    kind: ClassVar[str] = "snip"
    rounds: int = 1

    def check(self, at: str) -> None:
        super().check(at)
        check_counts(self, at, "rounds", most=1000)

    def start_density(self) -> float | None:
        return None

    def plan(self, steps: int) -> Plan:
        return static()

    def first(
        self, network: nn.Module, streams: Streams, loss: Callable[[], torch.Tensor]
    ) -> Masks:
        weights = self._weights(network)
        return snip_masks(network, weights, loss, density=self.density, rounds=self.rounds)
