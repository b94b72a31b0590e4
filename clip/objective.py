"""Objectives for any training loop: a loss plus weighted penalties, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from bregman.validation import check_non_negative
from clip.ascent import Ascent
from clip.discrepancy import Discrepancy
from clip.lipschitz import LipschitzPenalty
from clip.pairs import PairSet
from clip.quotients import Power
from clip.weights import WeightPenalty

#: Function from outputs and targets to the mean loss of a batch.
Loss = Callable[[Tensor, Tensor], Tensor]


class Evaluated(NamedTuple):
    """The values of an objective on one batch.

    Attributes:
        total: the scalar to differentiate.
        loss: the mean loss alone, without a gradient.
        outputs: outputs of the network, without a gradient.
    """

    total: Tensor
    loss: Tensor
    outputs: Tensor


class Penalty(Protocol):
    """A term of an objective."""

    def __call__(self) -> Tensor:
        """A scalar that is differentiable in the parameters."""
        ...

    def end_epoch(self) -> None:
        """Finish an epoch; training loops call this method after every epoch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs: tensors, numbers and strings."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        ...


class PenalisedLoss:
    """Loss plus weighted penalties, for any optimiser.

    A penalty of weight 0 is not evaluated, so a step with all weights 0 equals a step of plain training
    bit by bit. The host does not read a weight on an accelerator, so its penalty is always evaluated.

    Args:
        model: the network.
        loss: mean loss of a batch, from outputs and targets.
        terms: penalty and weight by name. A weight is a number, at least 0, or a rule.

    Raises:
        ValueError: a weight is negative.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        terms: Mapping[str, tuple[Penalty, float | Discrepancy]],
    ) -> None:
        for name, (_, weight) in terms.items():
            if not isinstance(weight, Discrepancy):
                check_non_negative(name, weight)
        self.model, self.loss = model, loss
        self.terms = dict(terms)

    def __call__(
        self, inputs: Tensor, targets: Tensor, *, forward: Callable[[Tensor], Tensor] | None = None
    ) -> Evaluated:
        """Evaluate a batch.

        Args:
            inputs: ``(batch, *input_shape)``.
            targets: targets that the loss accepts.
            forward: function that runs the batch in place of the model, such as the compiled model.
        """
        outputs = (forward or self.model)(inputs)
        loss = total = self.loss(outputs, targets)
        for penalty, rule in self.terms.values():
            weight = rule.weight if isinstance(rule, Discrepancy) else rule
            if isinstance(weight, Tensor) or weight > 0:
                total = total + weight * penalty()
        return Evaluated(total, loss.detach(), outputs.detach())

    def update(self, accuracy: float | Tensor) -> None:
        """Update all rules by an accuracy in [0, 1]; call this method after steps or after epochs.

        Raises:
            ValueError: the accuracy is out of range.
        """
        # A rule that steers several terms is updated once.
        for rule in {id(rule): rule for rule in self._rules().values()}.values():
            rule.update(accuracy)

    def end_epoch(self) -> None:
        """Call `end_epoch` of all penalties."""
        for penalty, _ in self.terms.values():
            penalty.end_epoch()

    def weights(self) -> dict[str, float]:
        """Present weight of every term, for logs; the host waits for weights on an accelerator."""
        rules = self._rules()
        return {
            name: float(rules[name].weight if name in rules else weight)  # type: ignore[arg-type]
            for name, (_, weight) in self.terms.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """State of all penalties and rules; tensors, numbers and strings only."""
        return {
            "penalties": {name: penalty.state_dict() for name, (penalty, _) in self.terms.items()},
            "rules": {name: rule.state_dict() for name, rule in self._rules().items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            ValueError: the state is that of other terms.
        """
        rules = self._rules()
        if state["penalties"].keys() != self.terms.keys() or state["rules"].keys() != rules.keys():
            raise ValueError(
                f"the state has the terms {sorted(state['penalties'])} with rules for "
                f"{sorted(state['rules'])}, this objective {sorted(self.terms)} with rules for "
                f"{sorted(rules)}: build it with the settings of the run"
            )
        for name, (penalty, _) in self.terms.items():
            penalty.load_state_dict(state["penalties"][name])
        for name, rule in rules.items():
            rule.load_state_dict(state["rules"][name])

    def _rules(self) -> dict[str, Discrepancy]:
        terms = self.terms.items()
        return {name: rule for name, (_, rule) in terms if isinstance(rule, Discrepancy)}


class Clip(PenalisedLoss):
    """Cheap Lipschitz training: loss + lam Lip(f; X_Lip)^p + mu |theta|^q (CLIP paper, eq. 5, 6).

    Args:
        model: the network.
        loss: mean loss of a batch, from outputs and targets.
        pairs: X_Lip, which ascends by one step whenever the Lipschitz term is evaluated.
        lam: weight of the Lipschitz term: a number, at least 0, or a rule.
        mu: weight of the norm of the weights: a number, at least 0, or a rule; 0 leaves the term out.
            One rule may steer both lam and mu.
        ascent: settings of the ascent by which pairs move.
        reduction: ``best`` or ``mean``; see `clip.LipschitzPenalty`.
        power: p, 1 as in the paper or 2 as in its published code.
        pairs_per_step: number of pairs that a step evaluates, in turns; None takes all pairs.
        weight_penalty: the term of mu; None is ``clip.WeightPenalty(model)``, with q = 1.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> import torch
        >>> from clip import Clip, Discrepancy, NoisyData, PairSet
        >>> model, images, labels = torch.nn.Linear(4, 3), torch.rand(8, 4), torch.arange(8) % 3
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> pairs = PairSet(NoisyData(images), value_range=(0.0, 1.0))
        >>> rule = Discrepancy(target=0.9, step=0.25, start=1.0)
        >>> objective = Clip(model, torch.nn.functional.cross_entropy, pairs, lam=rule)
        >>> for _ in range(2):
        ...     found = objective(images, labels)
        ...     optimizer.zero_grad()
        ...     found.total.backward()
        ...     optimizer.step()
        >>> objective.update(accuracy=0.5)
        >>> objective.weights()
        {'lam': 0.75}
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        pairs: PairSet,
        *,
        lam: float | Discrepancy,
        mu: float | Discrepancy = 0.0,
        ascent: Ascent | None = None,
        reduction: str = "best",
        power: Power = 1,
        pairs_per_step: int | None = None,
        weight_penalty: Penalty | None = None,
    ) -> None:
        self.lipschitz = LipschitzPenalty(
            model,
            pairs,
            ascent=ascent,
            reduction=reduction,
            power=power,
            pairs_per_step=pairs_per_step,
        )
        terms: dict[str, tuple[Penalty, float | Discrepancy]] = {"lam": (self.lipschitz, lam)}
        if mu != 0:
            terms["mu"] = (weight_penalty or WeightPenalty(model), mu)
        super().__init__(model, loss, terms)

    @property
    def pairs(self) -> PairSet:
        """The pair set."""
        return self.lipschitz.pairs
