"""One line of the benchmark: a measured number, the goal that it is held to, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A measurement.

    Attributes:
        section: Table that the row belongs to.
        what: What was measured.
        value: The number that the goal is about: a ratio, or bytes per parameter.
        unit: What the value is counted in; "x S" reads "times the step of S".
        goal: Largest acceptable value; None where there is no goal.
        exact: Whether the value must equal the goal.
        milliseconds: Median time of one step or iteration, for orientation only.
    """

    section: str
    what: str
    value: float
    unit: str
    goal: float | None = None
    exact: bool = False
    milliseconds: float | None = None

    @property
    def verdict(self) -> str:
        """`PASS`, `FAIL`, or `-` without a goal."""
        if self.goal is None:
            return "-"
        met = self.value == self.goal if self.exact else self.value <= self.goal
        return "PASS" if met else "FAIL"

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON, verdict included."""
        return {
            "section": self.section,
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "goal": self.goal,
            "exact": self.exact,
            "milliseconds": self.milliseconds,
            "verdict": self.verdict,
        }
