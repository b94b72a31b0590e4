"""STR and spred on the bench: SGD on variables behind the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import check_numbers
from bregbench.measures import density
from bregbench.methods.backprop import Backprop
from bregbench.methods.optimizer import OptimizerConfig
from bregbench.objectives import ObjectiveConfig
from bregbench.objectives.penalty import PenaltyConfig
from bregbench.papers.rivals.latents import STR, Spred, small_entries
from bregbench.tasks.context import RunContext
from bregman.rules import named_params


@dataclass
class LatentConfig(OptimizerConfig):
    """SGD on variables behind the weights; decay makes them sparse.

    Attributes:
        momentum: of SGD.
        nesterov: of SGD.
        weight_decay: of all variables; sparsity is its outcome.
        penalty: which weights have such variables: those whose rule is not `none`.
    """

    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-3
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)

    def check(self, at: str) -> None:
        """See `MethodConfig.check`."""
        super().check(at)
        check_numbers(self, at, "momentum", least=0, below=1)
        check_numbers(self, at, "weight_decay", least=0)
        allowed = f"false without {at}.momentum"
        require(not self.nesterov or self.momentum > 0, f"{at}.nesterov", self.nesterov, allowed)

    def settings(self) -> dict[str, Any]:
        """Options of the optimiser."""
        own = {"momentum": self.momentum, "nesterov": self.nesterov}
        return own | {"weight_decay": self.weight_decay}

    def groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """Groups of parameters; no lam is reported, because none is used."""
        groups = self.penalty.groups(network, 0.0)
        odd = {group["penalty"] for group in groups} - {"none", "l1"}
        if odd:
            raise BenchError(
                f"method.penalty={odd.pop()} has no meaning for method={self.kind}: "
                "use method/penalty=l1, whose rules say which weights take part"
            )
        return [group | {"lam_scale": 0.0} for group in groups]


@dataclass
class Str(LatentConfig):
    """STR (Kusupati et al., 2020): soft thresholds sigmoid(s) that are learned, one a layer.

    Attributes:
        logit: s at the beginning; -3200 for ImageNet in the paper, where decay has time to move it.
    """

    kind: ClassVar[str] = "str"
    variants: ClassVar[tuple[str, ...]] = (*OptimizerConfig.variants, "cut")
    logit: float = -8.0

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "logit", least=-1e6, most=10)

    def build(
        self, network: nn.Module, objective: ObjectiveConfig, context: RunContext
    ) -> StrTraining:
        """See `OptimizerConfig.build`."""
        return StrTraining(
            network,
            self.optimizer(network, context),
            objective.build(network, context),
            context,
            cut=self.cut,
            recalibrate=self.recalibrate,
        )

    def optimizer(self, network: nn.Module, context: RunContext) -> STR:
        """See `OptimizerConfig.optimizer`."""
        return STR(self.groups(network), self.lr, start=self.logit, **self.settings())


class StrTraining(Backprop):
    """Back-propagation with STR, which says where thresholds had no effect or took everything."""

    def notes(self) -> list[str]:
        """Thresholds that are still 0, and layers that are."""
        assert isinstance(self.optimizer, STR)
        thresholds = self.optimizer.thresholds()
        zero = sum(value == 0 for value in thresholds.values())
        empty = sum(not bool(weight.any()) for weight in thresholds)
        found = super().notes()
        if zero:
            found.append(
                f"{zero} of {len(thresholds)} thresholds are still 0: decay did not bring them up "
                "(raise method.weight_decay or method.logit, or train longer)"
            )
        if empty:
            found.append(f"{empty} of {len(thresholds)} layers are zero, and stay so")
        return found


@dataclass
class SpredConfig(LatentConfig):
    """spred (Ziyin, Wang 2023): weights u v with decay on both, an l1 penalty solved by SGD.

    It has no exact zeros: the variant `cut` is without the weights below `ratio`.

    Attributes:
        ratio: weights below it, times the largest of their layer, count as zero.
    """

    kind: ClassVar[str] = "spred"
    variants: ClassVar[tuple[str, ...]] = (*OptimizerConfig.variants, "cut")
    ratio: float = 1e-6

    def check(self, at: str) -> None:
        super().check(at)
        check_numbers(self, at, "ratio", above=0, below=1)

    def cuts(self, network: nn.Module) -> dict[str, Callable[[], nn.Module]]:
        """Also `cut`."""
        groups = [g for g in self.groups(network) if g["penalty"] != "none"]
        penalised = [parameter for group in groups for _, parameter in named_params(group)]
        small = small_entries(penalised, self.ratio)
        return super().cuts(network) | {"cut": lambda: without(network, small)}

    def build(
        self, network: nn.Module, objective: ObjectiveConfig, context: RunContext
    ) -> SpredTraining:
        """See `OptimizerConfig.build`."""
        return SpredTraining(
            network,
            self.optimizer(network, context),
            objective.build(network, context),
            context,
            cut=self.cut,
            recalibrate=self.recalibrate,
            ratio=self.ratio,
        )

    def optimizer(self, network: nn.Module, context: RunContext) -> Spred:
        """See `OptimizerConfig.optimizer`."""
        return Spred(self.groups(network), self.lr, **self.settings())


class SpredTraining(Backprop):
    """Back-propagation with spred, judged without its small weights, too."""

    def __init__(self, *arguments: Any, ratio: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ratio = ratio

    def end_epoch(self, metrics: dict[str, float]) -> dict[str, float]:
        """Also the density after the cut."""
        total = density(self._without_small()).get("density/total")
        found = super().end_epoch(metrics)
        return found if total is None else found | {"cut_density/total": total}

    def variants(self) -> dict[str, nn.Module]:
        """Also `cut`."""
        return super().variants() | {"cut": self.recalibrated(self._without_small())}

    def _without_small(self) -> nn.Module:
        assert isinstance(self.optimizer, Spred)
        return without(self.network, self.optimizer.small(self._ratio))


@torch.no_grad()
def without(network: nn.Module, small: dict[torch.Tensor, torch.Tensor]) -> nn.Module:
    """A copy of a network in which some entries of its parameters are zero.

    Args:
        network: left as it is.
        small: True where an entry goes, by parameter.
    """
    twin = copy.deepcopy(network)
    for ours, other in zip(network.parameters(), twin.parameters(), strict=True):
        if ours in small:
            other.masked_fill_(small[ours], 0.0)
    return twin
