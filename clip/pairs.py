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
    """Pairs of points that move, with their latest quotients; a source draws the pairs.

    Args:
        source: source that draws the pairs at the beginning and at each refresh: `clip.NoisyData`,
            `clip.DataPairs`, `clip.UniformPoints`, `clip.GivenPairs` or another object with a method
            `draw` (see `clip.PairSource`).
        refresh: when pairs are drawn anew: ``"never"``, after every ``"epoch"``, or after a number of
            steps, at least 1.
        value_range: lowest and highest value of an input, to which drawn and moved points are cut;
            None for no limits. The paper and its published code have none.
        min_distance: Euclidean distance, in units of the inputs, below which the two points of a
            pair are pushed apart. The quotient of closer points is rounding noise: float32 errors
            of 1e-7 in outputs of order 1 change it by 1e-7 / min_distance.
        generator: the only source of randomness; None is a CPU generator with seed 0.

    Attributes:
        points: ``(n, 2, *input_shape)``.
        quotients: ``(n,)``, the latest quotient of each pair; 0 before its first evaluation.
        rates: ``(n,)``, factors of the ascent's step size that adaptation has reached.

    Raises:
        ValueError: a setting is out of range, or the source does not draw pairs.
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
        """The pairs of the next step: `count` pairs in turns, or all pairs.

        The pairs are drawn anew first if the policy asks for it after this number of steps. The last
        turn of a round may be shorter.

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
        """Draw new pairs, and reset quotients, rates and turns."""
        self.points.copy_(self.limit(self.source.draw(self.generator).detach().clone()))
        self.quotients.zero_()
        self.rates.fill_(1)
        self._cursor = self._steps = 0

    def estimate(self) -> Tensor:
        """Lip(f; X_Lip): the largest of the latest quotients, a scalar on the device.

        The estimate is a lower bound of the Lipschitz constant if all pairs were evaluated with the
        present weights; use `clip.lower_bound` for a finished network.
        """
        return self.quotients.max()

    def limit(self, points: Tensor) -> Tensor:
        """Push the points of close pairs apart, then clamp values to the range, in place.

        Points that coincide exactly have no direction and stay together.
        """
        steps = points[:, 0] - points[:, 1]
        distances = torch.linalg.vector_norm(steps.flatten(1), dim=1)
        # On the CPU a check is free, so that the push is skipped if no pair is close.
        if points.device.type != "cpu" or bool((distances < self.min_distance).any()):
            wanted = (self.min_distance / distances - 1).clamp(min=0).nan_to_num(0, 0, 0) / 2
            steps.mul_(per_pair(wanted, steps))
            points[:, 0] += steps
            points[:, 1] -= steps
        return points if self.value_range is None else points.clamp_(*self.value_range)

    def state_dict(self) -> dict[str, Any]:
        """Points, quotients, rates, position and state of the generator, without the source."""
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
