"""DessiLBI: dense training beside a sparse copy Gamma that says which structure matters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import check_numbers
from bregbench.measures.density import to_host
from bregbench.measures.layers import distinct_weights
from bregbench.methods.backprop import Backprop
from bregbench.methods.optimizer import OptimizerConfig
from bregbench.methods.thresholds import Cut
from bregbench.objectives import Objective, ObjectiveConfig
from bregbench.objectives.penalty import PenaltyConfig
from bregbench.tasks.context import RunContext
from bregman.rules import named_params
from dessilbi import DessiLBI, SelectionPath, gamma_view, support_view
from dessilbi.choices import Scaling

#: the remedy for a Gamma that is zero
EMPTY_GAMMA = (
    "Gamma is empty: nothing was selected (lower method.lam or method.nu, or train longer; "
    "dessilbi.threshold_on_schedule says what is needed)"
)


@dataclass
class Dessilbi(OptimizerConfig):
    """The split iteration of DessiLBI (equations 9a-c and 12-15); see `dessilbi.DessiLBI`.

    Attributes:
        lam: weight of Omega.
        kappa: factor of the steps of W and of Gamma.
        nu: parameter of the coupling |W - Gamma|^2 / (2 nu); larger values couple less.
        penalty: Omega; `method=dessilbi` has the paper's, filters of convolutions and single weights
            of linear layers. Weights whose rule is `none` have no Gamma.
        momentum: momentum tau.
        nesterov: whether the momentum is Nesterov's.
        weight_decay: weight decay beta of weights.
        decay_vectors: whether biases and norm layers decay, too; in the published code they do not.
        coupling_in_momentum: whether the momentum contains the coupling, as equation 12a is printed; in the
            tables and the published code it does not.
        decoupled_weight_decay: whether weight decay is decoupled, as equation 13b is printed; in the tables
            and the published code the gradient contains the decay.
        scaling: magnitude scaling of V.
        scaling_floor: least value of `1 - #supp Gamma / #supp W` in equation 15.
        path: whether the epoch in which each group was selected first is stored.
        trace: a Linear or convolution layer; the norms of its filters in W, V and Gamma after each epoch are
            kept as traces.
    """

    kind: ClassVar[str] = "dessilbi"
    variants: ClassVar[tuple[str, ...]] = (*OptimizerConfig.variants, "gamma", "masked")
    lam: float = 1.0
    kappa: float = 1.0
    nu: float = 10.0
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_vectors: bool = False
    coupling_in_momentum: bool = False
    decoupled_weight_decay: bool = False
    scaling: Scaling = Scaling.none
    scaling_floor: float = 0.01
    path: bool = False
    trace: str = ""

    def check(self, at: str) -> None:
        """See `MethodConfig.check`."""
        super().check(at)
        check_numbers(self, at, "lam", "weight_decay", least=0)
        check_numbers(self, at, "kappa", "nu", above=0)
        check_numbers(self, at, "momentum", "scaling_floor", least=0, below=1)
        allowed = f"false without {at}.momentum"
        require(not self.nesterov or self.momentum > 0, f"{at}.nesterov", self.nesterov, allowed)

    def build(
        self, network: nn.Module, objective: ObjectiveConfig, context: RunContext
    ) -> SplitTraining:
        """See `OptimizerConfig.build`."""
        try:
            optimizer = self.optimizer(network, context)
        except ValueError as error:
            raise BenchError(f"method={self.kind}: {error}") from error
        return SplitTraining(
            network,
            optimizer,
            objective.build(network, context),
            context,
            cut=self.cut,
            path=self.path,
            trace=self.trace,
            recalibrate=self.recalibrate,
        )

    def optimizer(self, network: nn.Module, context: RunContext) -> DessiLBI:
        """The split iteration over all parameters of the network."""
        groups: list[dict[str, Any]] = []
        for group in self.penalty.groups(network, self.lam):
            named = list(named_params(group))
            vectors = [item for item in named if item[1].dim() <= 1]
            weights = [item for item in named if item[1].dim() > 1]
            if self.decay_vectors or not self.weight_decay:
                vectors, weights = [], named
            if vectors:
                groups.append(group | {"params": vectors, "weight_decay": 0.0})
            if weights:
                groups.append(group | {"params": weights})
        return DessiLBI(
            groups,
            self.lr,
            kappa=self.kappa,
            nu=self.nu,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            coupling_in_momentum=self.coupling_in_momentum,
            decoupled_weight_decay=self.decoupled_weight_decay,
            scaling=self.scaling,
            scaling_floor=self.scaling_floor,
        )


class SplitTraining(Backprop):
    """Back-propagation with DessiLBI, with metrics, traces and network variants from Gamma.

    Attributes:
        optimizer: the split iteration, which holds Gamma and V.
        path: the epoch of each group's first selection, if `Dessilbi.path` is set.
        last_only: variants that need the current Gamma and not the weights alone.
    """

    last_only: ClassVar[frozenset[str]] = frozenset({"gamma", "masked"})
    optimizer: DessiLBI

    def __init__(
        self,
        network: nn.Module,
        optimizer: DessiLBI,
        objective: Objective,
        context: RunContext,
        *,
        cut: Cut,
        path: bool,
        trace: str,
        recalibrate: int = 0,
    ) -> None:
        super().__init__(network, optimizer, objective, context, cut=cut, recalibrate=recalibrate)
        self.path = SelectionPath(network, optimizer) if path else None
        self._epochs = 0
        self._penalised = {
            name: layer.weight
            for name, layer in distinct_weights(network).items()
            if optimizer.has_gamma(layer.weight)
        }
        if trace and trace not in self._penalised:
            known = ", ".join(self._penalised) or "(none)"
            raise BenchError(f"method.trace={trace} has no Gamma here: choose one of {known}")
        self._trace = trace
        self._norms: dict[str, list[torch.Tensor]] = {}
        self._follow()

    def end_epoch(self, metrics: dict[str, float]) -> dict[str, float]:
        """Density of Gamma, in total and by layer."""
        self._epochs += 1
        if self.path is not None:
            self.path.record(self._epochs)
        self._follow()
        return super().end_epoch(metrics) | self.gamma_density()

    @torch.no_grad()
    def gamma_density(self) -> dict[str, float]:
        """`gamma_density/total` and `gamma_density/<layer>`: share of nonzero entries of Gamma."""
        sizes = {name: weight.numel() for name, weight in self._penalised.items()}
        counts = to_host(
            {
                name: self.optimizer.gamma(weight).count_nonzero()
                for name, weight in self._penalised.items()
            }
        )
        found = {f"gamma_density/{name}": counts[name] / sizes[name] for name in sizes}
        if sizes:
            found["gamma_density/total"] = sum(counts.values()) / sum(sizes.values())
        return found

    @torch.no_grad()
    def _follow(self) -> None:
        """Note the filter norms of the followed layer."""
        if not self._trace:
            return
        for name, norms in self._filter_norms(self._penalised[self._trace]).items():
            self._norms.setdefault(name, []).append(norms)

    @torch.no_grad()
    def _filter_norms(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        """Norms of the filters (rows) of W, V and Gamma, on the CPU."""
        dual, gamma = self.optimizer.dual(weight), self.optimizer.gamma(weight)
        rows = {"weights": weight.detach(), "duals": dual, "gammas": gamma}
        return {
            name: torch.linalg.vector_norm(matrix.flatten(1), dim=1).float().cpu()
            for name, matrix in rows.items()
        }

    def variants(self) -> dict[str, nn.Module]:
        """Also `gamma`, with Gamma for W, and `masked`, W where Gamma is not zero."""
        return super().variants() | {
            "gamma": gamma_view(self.network, self.optimizer),
            "masked": support_view(self.network, self.optimizer),
        }

    def traces(self) -> dict[str, torch.Tensor]:
        """Filter norms in W, V and Gamma.

        `weights`, `duals`, `gammas`: norms of the followed layer, ``(epochs + 1, filters)``.
        `final/weights/<layer>`, `final/duals/<layer>` and `final/gammas/<layer>`: current norms of every
        layer with a Gamma, ``(filters,)``.
        """
        final = {
            f"final/{name}/{layer}": norms
            for layer, weight in self._penalised.items()
            for name, norms in self._filter_norms(weight).items()
        }
        return self._followed() | final

    def _followed(self) -> dict[str, torch.Tensor]:
        return {name: torch.stack(rows) for name, rows in self._norms.items()}

    def notes(self) -> list[str]:
        """A note if all of Gamma is zero."""
        found = super().notes()
        share = self.gamma_density().get("gamma_density/total", math.nan)
        if share == 0.0 and self._epochs:
            found.append(EMPTY_GAMMA)
        return found

    def state_dict(self) -> dict[str, Any]:
        """State of the optimiser, the path and the followed norms."""
        state = super().state_dict() | {"epochs": self._epochs, "norms": self._followed()}
        if self.path is not None:
            state["path"] = self.path.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        super().load_state_dict(state)
        self._epochs = state["epochs"]
        self._norms = {name: list(rows.cpu()) for name, rows in state["norms"].items()}
        if self.path is not None:
            self.path.load_state_dict(state["path"])
