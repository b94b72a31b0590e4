"""Other ways to a wanted density beside `DensityTarget`: the exact quantile and the published gap rule.

All three change the lam of an optimiser's penalised groups and leave its duals alone. `DensityTarget`
works on the logarithm of the density and needs no more than a count. `QuantileControl` reads lam off
the duals, so that the density is exact after every change. `GapControl` is a rule that others have
published, for comparison: its gain multiplies the gap in absolute sparsity, so lam changes slowly
where few weights are left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bregman.dual import DualOptimizer
from bregman.groups import group_dims, group_size
from bregman.optimizer import PenalisedOptimizer, group_penalty, state_dtype
from bregman.ramps import Ramp
from bregman.validation import check_choice, check_count, check_density, check_positive

#: a density this close (relatively) to the target counts as reached
TOLERANCE = 0.1
#: no rule makes lam larger; thresholds in single precision end at 3.4e38
LARGEST = 1e30


def quantile(scores: Tensor, sizes: Tensor | None, density: float) -> tuple[float, int]:
    """The threshold above which a given share of all weights lies.

    Args:
        scores: Non-negative size of every weight or group, shape `(count,)`.
        sizes: Number of weights of every group, shape `(count,)`; None if every score belongs to one
            weight.
        density: Share of the weights that may stay, in (0, 1].

    Returns:
        The threshold and the budget K, `round(density N)` weights and at least one. For single
        weights the threshold is the (K + 1)-th largest score, 0 if K = N: exactly K stay unless scores
        tie. For groups, whose norms are rounded, the threshold is the middle between the scores of the
        last group that fits into the budget and of the first that does not; a tie of the two drops both.

    Raises:
        ValueError: The density is out of range.
    """
    check_density(density)
    total = scores.numel() if sizes is None else int(sizes.sum())
    budget = min(total, max(1, math.floor(density * total + 0.5)))
    if budget == total:
        return 0.0, budget
    if sizes is None:
        return float(scores.topk(budget + 1, sorted=False).values.min()), budget
    order = scores.argsort(descending=True, stable=True)
    count = max(1, int((sizes[order].cumsum(0) <= budget).sum()))
    if count == scores.numel():
        return 0.0, budget
    last, first = (float(scores[order[place]]) for place in (count - 1, count))
    return ((last + first) / 2 if last > first else first * (1 + 1e-6)), budget


class QuantileControl:
    """Sets lam every few steps so that an exact share of the penalised weights is not zero.

    After an optimiser's step the duals v tell which weights survive under a given lam: those with the
    largest |v|, or the groups with the largest ratio of norm and group weight. lam becomes the quantile
    of these sizes, and the parameters are recovered from the duals, as if the new lam had been set
    before the prox of that step. Until the next change lam is constant and the density may drift.

    At a sparse start most duals are exactly 0 and tie: without a ramp the rule would give lam = 0 and
    then jump to the target at once. Give a geometric ramp at a sparse start, and a cubic one at a dense
    start.

    Args:
        optimizer: A dual optimiser with penalties `l1`, `nonnegative` or `l12`. Groups with
            `lam_scale` 0 do not count.
        ramp: The wanted density of the penalised weights.
        interval: Steps between two changes; each costs one selection and one host synchronisation.
        keep_values: Move the duals with lam, so that weights that stay keep their values.

    Raises:
        ValueError: The optimiser has no duals, no penalised group, or another penalty than the three.
    """

    def __init__(
        self,
        optimizer: DualOptimizer,
        ramp: Ramp,
        *,
        interval: int = 50,
        keep_values: bool = False,
    ) -> None:
        if not isinstance(optimizer, DualOptimizer):
            raise ValueError(f"a quantile needs duals, and {type(optimizer).__name__} has none")
        check_count("interval", interval)
        require_penalised(optimizer)
        self._optimizer = optimizer
        self.ramp = ramp
        self._interval = interval
        self._keep_values = keep_values
        self._taken = 0
        for group in penalised(optimizer):
            check_choice("penalty under a quantile", group["penalty"], ("l1", "l12", "nonnegative"))

    @property
    def due(self) -> bool:
        """Whether the next call of `after_step` acts."""
        return (self._taken + 1) % self._interval == 0

    def after_step(self) -> None:
        """Count a step and set lam when it is time."""
        self._taken += 1
        if self._taken % self._interval == 0:
            self.apply()

    @torch.no_grad()
    def apply(self) -> None:
        """Set lam for the density that the ramp wants now, and recover the parameters."""
        scored = list(self._scores())
        if not scored:
            return
        single = all(size == 1 for _, size in scored)
        sizes = [torch.full_like(s, n, dtype=torch.long) for s, n in scored]
        lam, _ = quantile(
            torch.cat([scores for scores, _ in scored]),
            None if single else torch.cat(sizes),
            self.ramp.density(self._taken),
        )
        if not math.isfinite(lam):
            return  # the duals are no numbers any more, and no lam mends them: the loss will say so
        kept = [param.clone() for param, _ in self._members()] if self._keep_values else []
        changes = [self._set(group, lam) for group in penalised(self._optimizer)]
        self._optimizer.recover()
        if self._keep_values:
            self._shift(kept, changes)
            self._optimizer.recover()

    def density(self) -> float:
        """Share of non-zero entries among the penalised weights."""
        return nonzero_share(self._optimizer)

    def note(self) -> str | None:
        """A sentence where the density is not within 10 % of the target, else None."""
        return missed(self.density(), self.ramp.target)

    def state_dict(self) -> dict[str, Any]:
        """Number of steps and the ramp's start; the optimiser's own state dict holds lam."""
        return {"taken": self._taken, "start": self.ramp.start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._taken = state["taken"]
        self.ramp = replace(self.ramp, start=state["start"])

    def _members(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        for group in penalised(self._optimizer):
            for param in group["params"]:
                if self._optimizer.state.get(param):
                    yield param, group

    def _scores(self) -> Iterator[tuple[Tensor, int]]:
        """Scores of every stepped parameter, divided by its lam_scale, and the size of its groups."""
        for param, group in self._members():
            dual = self._optimizer.state[param]["dual"]
            scores, size, weight = dual.clamp(min=0), 1, 1.0
            if group["penalty"] == "l1":
                scores = dual.abs()
            elif group["penalty"] == "l12":
                dims = group_dims(group["group"], dual.shape)
                size = group_size(dims, dual.shape)
                weight = math.sqrt(size) if group["group_weight"] == "sqrt" else 1.0
                scores = torch.linalg.vector_norm(dual, dim=dims)
            # Double precision, so that lam times lam_scale rounds back to the entry that gave lam.
            yield scores.flatten().double() / (weight * group.get("lam_scale", 1.0)), size

    def _set(self, group: dict[str, Any], threshold: float) -> float:
        """Set the group's lam so that its threshold is `threshold * lam_scale`; return its change.

        Before the first step with a learning rate above 0 a growing threshold is 0 under every lam, which
        then stays.
        """
        multiple = 1.0 if group["threshold"] == "constant" else group["elapsed"]
        if multiple == 0:
            return 0.0
        lam = threshold * group.get("lam_scale", 1.0) / multiple
        change = (lam - group["lam"]) * multiple
        group["lam"] = lam
        return change

    def _shift(self, kept: list[Tensor], changes: list[float]) -> None:
        change_of = {
            id(group): change
            for group, change in zip(penalised(self._optimizer), changes, strict=True)
        }
        for (param, group), old in zip(self._members(), kept, strict=True):
            old = old.to(state_dtype(param))
            moved = group_penalty(group).subgradient(old) * change_of[id(group)]
            self._optimizer.state[param]["dual"].add_(moved * (param != 0))


class GapControl:
    """The published feedback: lam is multiplied or divided by `1 + gain |gap|`, gap in sparsity.

    The gap is the wanted minus the present sparsity; lam grows while the gap is positive. The gain at a
    change is `gain * damping^max(C - 1, 0)` with C the number of changes of the gap's sign so far, so
    that the first change of sign does not damp. lam is at most 1e30, which single precision still holds.

    Args:
        optimizer: An optimiser whose groups hold `penalty`, `lam` and `lam_scale`.
        ramp: The wanted density of the penalised weights.
        interval: Steps between two changes; each costs one host synchronisation.
        gain: Initial gain, > 0. The newer published code has 1, the older 0.25.
        damping: Factor of the gain at every change of sign but the first, > 0.

    Raises:
        ValueError: A value is out of range, or no group of the optimiser has a penalty.
    """

    def __init__(
        self,
        optimizer: PenalisedOptimizer,
        ramp: Ramp,
        *,
        interval: int = 50,
        gain: float = 1.0,
        damping: float = 0.95,
    ) -> None:
        check_count("interval", interval)
        check_positive("gain", gain)
        check_positive("damping", damping)
        require_penalised(optimizer)
        self._optimizer = optimizer
        self.ramp = ramp
        self._interval = interval
        self._gain = gain
        self._damping = damping
        self._taken = 0
        self._sign = 0
        self._crossings = 0

    @property
    def due(self) -> bool:
        """Whether the next call of `after_step` acts."""
        return (self._taken + 1) % self._interval == 0

    def after_step(self) -> None:
        """Count a step and change lam when it is time."""
        self._taken += 1
        if self._taken % self._interval:
            return
        gap = (1 - self.ramp.density(self._taken)) - (1 - self.density())
        factor = self.factor(gap)
        for group in penalised(self._optimizer):
            group["lam"] = min(group["lam"] * factor, LARGEST)

    def factor(self, gap: float) -> float:
        """The factor of lam at this gap; counts a change of the gap's sign."""
        sign = (gap > 0) - (gap < 0)
        self._crossings += sign != 0 and self._sign not in (0, sign)
        self._sign = sign or self._sign
        strength = self._gain * self._damping ** max(self._crossings - 1, 0)
        return (1 + strength * abs(gap)) ** sign

    def density(self) -> float:
        """Share of non-zero entries among the penalised weights."""
        return nonzero_share(self._optimizer)

    def note(self) -> str | None:
        """A sentence where the density is not within 10 % of the target, else None."""
        return missed(self.density(), self.ramp.target)

    def state_dict(self) -> dict[str, Any]:
        """Number of steps, sign of the gap, changes of sign and the ramp's start, but not lam."""
        own = {"taken": self._taken, "sign": self._sign, "crossings": self._crossings}
        return own | {"start": self.ramp.start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._taken, self._sign = state["taken"], state["sign"]
        self._crossings = state["crossings"]
        self.ramp = replace(self.ramp, start=state["start"])


@torch.no_grad()
def nonzero_share(optimizer: PenalisedOptimizer) -> float:
    """Share of non-zero entries among the weights whose penalty has a `lam_scale` above 0."""
    weights = [param for group in penalised(optimizer) for param in group["params"]]
    if not weights:
        return 0.0
    nonzero = torch.stack([torch.count_nonzero(weight) for weight in weights]).sum()
    return int(nonzero) / max(sum(weight.numel() for weight in weights), 1)


def missed(density: float, target: float) -> str | None:
    """A sentence where a density is not within 10 % of the target, else None."""
    if abs(density / target - 1) <= TOLERANCE:
        return None
    return (
        f"target density not reached: {density:.4f} instead of {target:.4f} "
        "(train longer, or start from another lam)"
    )


def penalised(optimizer: PenalisedOptimizer) -> list[dict[str, Any]]:
    """The groups with a penalty whose `lam_scale` (1 where there is none) is above 0."""
    # Looked up each time: loading an optimiser's state replaces its groups.
    return [
        group
        for group in optimizer.param_groups
        if group["penalty"] != "none" and group.get("lam_scale", 1.0) > 0
    ]


def require_penalised(optimizer: PenalisedOptimizer) -> None:
    """Refuse an optimiser on which no lam acts.

    Raises:
        ValueError: No group has a penalty with a `lam_scale` above 0.
    """
    if not penalised(optimizer):
        raise ValueError(
            f"no group of this {type(optimizer).__name__} has a penalty, so no lam changes its density: "
            "give groups one, for instance by penalize(model, lam=1e-3)"
        )
