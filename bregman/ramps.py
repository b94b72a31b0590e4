"""Courses of the wanted density during training: constant, geometric or cubic."""

from __future__ import annotations

from dataclasses import dataclass

from bregman.validation import check_choice, check_density

RAMPS = ("constant", "geometric", "cubic")


@dataclass(frozen=True)
class Ramp:
    """The density that is wanted at every step.

    With `x` growing linearly from 0 at step `begin` to 1 at step `end`:

        geometric    start (target / start)^x                    (for a sparse start)
        cubic        target + (start - target) (1 - x)^3         (Zhu, Gupta 2017: gradual pruning)

    Attributes:
        rule: `constant` (the target throughout), `geometric` or `cubic`.
        target: Density at the end, in (0, 1].
        start: Density before `begin`, in (0, 1].
        begin: Last step with the density `start`.
        end: First step with the density `target`.

    Raises:
        ValueError: A value is out of range.
    """

    rule: str
    target: float
    start: float = 1.0
    begin: int = 0
    end: int = 0

    def __post_init__(self) -> None:
        check_choice("ramp", self.rule, RAMPS)
        check_density(self.target)
        check_density(self.start)
        if not 0 <= self.begin <= self.end:
            raise ValueError(
                f"Invalid ramp: steps {self.begin} to {self.end} (must be 0 <= begin <= end)"
            )

    def density(self, step: int) -> float:
        """The density wanted at a step; exactly the target from `end` on."""
        if self.rule == "constant" or step >= self.end:
            return self.target
        if step <= self.begin:
            return self.start
        progress = (step - self.begin) / (self.end - self.begin)
        if self.rule == "geometric":
            return self.start * (self.target / self.start) ** progress
        return self.target + (self.start - self.target) * (1 - progress) ** 3
