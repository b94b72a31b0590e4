"""The finite set X_Lip of pairs of points on which a Lipschitz constant is estimated."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Generator, Tensor

from bregman.validation import check_positive
from clip.quotients import per_pair
from clip.sources import PairSource, check_pairs, check_range

#: When a set of pairs is drawn anew: never, after every epoch, or every so many steps.
Refresh = Literal["never", "epoch"] | int


class PairSet:
    """Pairs of points with what is known of each; the points move, their source stays.

    Args:
        source: draws the pairs, at the beginning and whenever they are refreshed:
            `clip.NoisyData`, `clip.DataPairs`, `clip.UniformPoints`, `clip.GivenPairs` or anything
            with their `draw`.
        refresh: ``"never"``, ``"epoch"``, or a number of steps, at least 1.
        value_range: lowest and highest value of an input, to which drawn and moved points are cut;
            None for no limits. The paper and its published code have none.
        min_distance: Euclidean distance, in units of the inputs, below which the two points of a
            pair are pushed apart. The quotient of closer points is rounding noise: float32 errors
            of 1e-7 in outputs of order 1 change it by 1e-7 / min_distance.
        generator: the only source of randomness; None is a CPU generator with seed 0.

    Attributes:
        points: ``(n, 2, *input_shape)``.
        quotients: ``(n,)``, each pair's quotient when it was last looked at; 0 before that.
        rates: ``(n,)``, factors of the ascent's step size that adaptation has reached.

    Raises:
        ValueError: a setting is out of range, or the source draws something that is not pairs.
    """

    def __init__(
        self,
        source: PairSource,
        *,
        refresh: Refresh = "never",
        value_range: tuple[float, float] | None = None,
        min_distance: float = 1e-3,
        generator: Generator | None = None,
    ) -> None:
        steps = isinstance(refresh, int) and not isinstance(refresh, bool) and refresh >= 1
        if refresh not in ("never", "epoch") and not steps:
            raise ValueError(
                f"refresh={refresh!r}: must be 'never', 'epoch' or a number of steps, at least 1"
            )
        if value_range is not None:
            check_range("value_range", value_range)
        check_positive("min_distance", min_distance)
        self.source, self.refresh_policy = source, refresh
        self.value_range, self.min_distance = value_range, min_distance
        self.generator = generator or Generator().manual_seed(0)
        drawn = source.draw(self.generator)
        check_pairs(drawn)
        self.points = self.limit(drawn.detach().clone())
        self.quotients = self.points.new_zeros(len(drawn))
        self.rates = self.points.new_ones(len(drawn))
        self._cursor = 0
        self._steps = 0

    def __len__(self) -> int:
        return len(self.points)

    def to(self, reference: Tensor) -> PairSet:
        """Move to the device and precision of a tensor, for instance a weight of the network."""
        self.points, self.quotients, self.rates = (
            tensor.to(reference.device, reference.dtype)
            for tensor in (self.points, self.quotients, self.rates)
        )
        return self

    def advance(self, count: int | None = None) -> slice:
        """The pairs of the next step: the set in turns of `count`, or all of it.

        Refreshes first where that is due by the number of steps. The last turn of a round may be
        shorter.

        Raises:
            ValueError: the count is less than 1.
        """
        if count is not None and count < 1:
            raise ValueError(f"count={count}: must be at least 1")
        policy = self.refresh_policy
        if isinstance(policy, int) and self._steps == policy:
            self.refresh()
        self._steps += 1
        begin = self._cursor
        end = len(self) if count is None else min(begin + count, len(self))
        self._cursor = end % len(self)
        return slice(begin, end)

    def end_epoch(self) -> None:
        """Refresh if the policy is ``"epoch"``."""
        if self.refresh_policy == "epoch":
            self.refresh()

    def refresh(self) -> None:
        """Draw new pairs and forget what was known of the old ones."""
        self.points.copy_(self.limit(self.source.draw(self.generator).detach().clone()))
        self.quotients.zero_()
        self.rates.fill_(1)
        self._cursor = self._steps = 0

    def estimate(self) -> Tensor:
        """Lip(f; X_Lip): the largest quotient, each as last looked at; a scalar on the device.

        A lower bound of the Lipschitz constant where all pairs were looked at with the present
        weights; use `clip.lower_bound` to judge a finished network.
        """
        return self.quotients.max()

    def limit(self, points: Tensor) -> Tensor:
        """Push the points of a pair apart that are too close, then cut values to the range.

        In place. Points that coincide exactly have no direction to part in and stay.
        """
        steps = points[:, 0] - points[:, 1]
        distances = torch.linalg.vector_norm(steps.flatten(1), dim=1)
        # Pushing nobody is skipped where looking is free.
        if points.device.type != "cpu" or bool((distances < self.min_distance).any()):
            wanted = (self.min_distance / distances - 1).clamp(min=0).nan_to_num(0, 0, 0) / 2
            steps.mul_(per_pair(wanted, steps))
            points[:, 0] += steps
            points[:, 1] -= steps
        return points if self.value_range is None else points.clamp_(*self.value_range)

    def state_dict(self) -> dict[str, Any]:
        """Points, quotients, rates, position and generator; the source is not part of it."""
        return {
            "points": self.points.clone(),
            "quotients": self.quotients.clone(),
            "rates": self.rates.clone(),
            "cursor": self._cursor,
            "steps": self._steps,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, on the device and in the precision of this set.

        Raises:
            ValueError: the state has pairs of another number or shape.
        """
        if state["points"].shape != self.points.shape:
            raise ValueError(
                f"the state has pairs of shape {tuple(state['points'].shape)}, this set "
                f"{tuple(self.points.shape)}: build it with the settings of the run"
            )
        for name in ("points", "quotients", "rates"):
            getattr(self, name).copy_(state[name])
        self._cursor, self._steps = state["cursor"], state["steps"]
        self.generator.set_state(state["generator"].cpu())
