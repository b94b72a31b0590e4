"""The Lipschitz penalty: difference quotients of a pair set that ascends with every evaluation."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor, nn

from bregman.validation import check_choice
from clip.ascent import Ascent
from clip.choices import Reduction
from clip.pairs import PairSet
from clip.quotients import Power, difference_quotients, judging, see


class LipschitzPenalty:
    """Lip(f; X_Lip)^power, differentiable in the parameters; every call is one step of the ascent.

    ``best`` is Algorithm 2 of the paper as printed: the pairs ascend, then the penalty is the largest
    quotient of the moved pairs. The gradient of ``best`` needs one more forward and backward pass over one
    pair. ``mean`` is the mean over the pairs before they move, and one backward pass gives the gradients
    in inputs and in parameters. A call costs, in passes over the pairs of the step:

    ======== ======= =========================== ==========================
    pairs    forward backward                    more with acceptance
    ======== ======= =========================== ==========================
    ``best`` 1       1, inputs only              1 forward without a graph
    ``mean`` 1       1, inputs and parameters    1 forward without a graph
    ======== ======= =========================== ==========================

    Args:
        model: the network; the penalty evaluates it in evaluation mode and in full precision.
        pairs: the pair set, which is moved to the device and precision of the model.
        ascent: settings of the ascent by which pairs move.
        reduction: ``best`` or ``mean``.
        power: 1 is the paper's penalty, 2 the published code's.
        pairs_per_step: number of pairs that a step evaluates and moves, in turns, at least 1; None takes
            all pairs. ``best`` chooses among all pairs by their latest quotients and evaluates the chosen
            pair anew; ``mean`` is the mean over the pairs of the turn.

    Raises:
        ValueError: a number or a name is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        pairs: PairSet,
        *,
        ascent: Ascent | None = None,
        reduction: str = "best",
        power: Power = 1,
        pairs_per_step: int | None = None,
    ) -> None:
        check_choice("reduction", reduction, Reduction)
        if power not in get_args(Power):
            raise ValueError(f"power={power!r}: must be one of {get_args(Power)}")
        if pairs_per_step is not None and pairs_per_step < 1:
            raise ValueError(f"pairs_per_step={pairs_per_step}: must be at least 1")
        self.model, self.ascent = model, ascent or Ascent()
        self.pairs = pairs.to(next(model.parameters(), pairs.points))
        self.reduction, self.pairs_per_step = reduction, pairs_per_step
        self.power: Power = power

    def __call__(self) -> Tensor:
        """The penalty, a scalar; a call moves the pairs unless autograd is off."""
        with judging(self.model, self.pairs.points.device):
            if not torch.is_grad_enabled():
                quotients = difference_quotients(self.model, self.pairs.points) ** self.power
                return quotients.max() if self.reduction == "best" else quotients.mean()
            return self._best() if self.reduction == "best" else self._mean()

    def end_epoch(self) -> None:
        """Draw the pairs anew if their policy is to do so after every epoch."""
        self.pairs.end_epoch()

    def state_dict(self) -> dict[str, Any]:
        """State of the pairs."""
        return {"pairs": self.pairs.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.pairs.load_state_dict(state["pairs"])

    def _best(self) -> Tensor:
        pairs, part = self.pairs, self.pairs.advance(self.pairs_per_step)
        self.ascent.move(self.model, pairs, part, see(self.model, pairs.points[part]))
        chosen = pairs.quotients.argmax()[None]
        quotient = difference_quotients(self.model, pairs.points.index_select(0, chosen))
        pairs.quotients.index_copy_(0, chosen, quotient.detach())
        return quotient[0] ** self.power

    def _mean(self) -> Tensor:
        pairs, part = self.pairs, self.pairs.advance(self.pairs_per_step)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        seen = see(self.model, pairs.points[part], parameters, self.power)
        self.ascent.move(self.model, pairs, part, seen)
        value = (seen.quotients**self.power).mean()
        found: Any = _Known.apply(value, seen.parameters, *parameters)
        return found


class _Known(torch.autograd.Function):
    """A scalar whose gradients in the parameters are known already."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, gradients: tuple[Tensor | None, ...], *_: Tensor
    ) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # type: ignore[override]
        (outer,) = grad_outputs
        return None, None, *(None if g is None else outer * g for g in ctx.gradients)
