"""What a table must have for its names to mean something, and for its tuning to be fair."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from bregbench.foundations.errors import BenchError
from bregbench.schema.groups import method_variants
from bregbench.tables.elements import MOST_TRIALS, Claim, Column, Part, Row, Tuning, named


class TableChecks:
    """The checks of a table, which has these fields among others."""

    name: str
    seeds: list[int]
    parts: dict[str, list[str]]
    details: dict[str, Part]
    columns: dict[str, Column]
    rows: dict[str, Row]
    claims: list[Claim]
    tuning: Tuning

    def column(self, name: str) -> Column | None:
        """What is known of a column."""
        return self.columns.get(name) or self.columns.get(name.partition("@")[0])

    def points_of(self, label: str) -> list[str]:
        """The rows that a label names: itself, or all its points."""
        return [row for row in self.rows if row == label or row.rpartition("@")[:2] == (label, "@")]

    def check(self) -> None:
        """Refuse names that nothing stands behind, and tuning that would not be fair.

        Raises:
            BenchError: of a part, a row, a column, a variant or an epoch that is not there.
        """
        self._check_parts()
        self._check_rows()
        self._check_columns()
        self._check_claims()
        self._check_tuning()

    def _check_tuning(self) -> None:
        if not any(row.tuning for row in self.rows.values()):
            return
        if self.parts:
            self.require_name(self.tuning.part, self.parts, "tuning.part")
        if self.tuning.seed in self.seeds:
            raise BenchError(
                f"{self.name}: tuning.seed={self.tuning.seed} is a seed of the table: give another one"
            )
        for label, row in self.rows.items():
            sets = [tuple(overrides) for overrides in row.tuning]
            odd = [text for overrides in sets for text in overrides if text.split() != [text]]
            if len(sets) > MOST_TRIALS or len(set(sets)) < len(sets) or odd:
                raise BenchError(
                    f"{self.name}: rows.{label}.tuning must be at most {MOST_TRIALS} different sets of "
                    f"overrides without spaces: it has {len(sets)}{f', one with {odd[0]!r}' if odd else ''}"
                )

    def _check_parts(self) -> None:
        named = {f"columns.{name}.part": c.part for name, c in self.columns.items() if c.part}
        named |= {f"details.{name}": name for name in self.details}
        for key, part in named.items():
            self.require_name(part, self.parts, key)
        for name, detail in self.details.items():
            for row in detail.rows:
                self.require_name(row, self.rows, f"details.{name}.rows")

    def _check_rows(self) -> None:
        for label, row in self.rows.items():
            at = f"rows.{label}"
            self.require_name(row.variant, method_variants(), f"{at}.variant")
            if row.source:
                self.require_name(row.source, self.rows, f"{at}.source")
                if self.rows[row.source].source:
                    raise BenchError(
                        f"{self.name}: {at}.source={row.source} begins with a run itself"
                    )
            for key in ("steered", "constructed"):
                for pattern in getattr(row, key):
                    self._require_column(pattern, f"{at}.{key}")
            for column in row.metrics:
                if column != "*":
                    self._require_column(column, f"{at}.metrics")

    def _check_columns(self) -> None:
        for name, column in self.columns.items():
            for key in ("beside", "against"):
                for other in getattr(column, key):
                    self._require_column(other, f"columns.{name}.{key}")

    def _check_claims(self) -> None:
        for number, claim in enumerate(self.claims):
            at = f"claims[{number}]"
            for column in filter(None, (claim.column, claim.other)):
                self._require_column(column, at)
            for row in (claim.above, *claim.below):
                if not self.points_of(row):
                    raise BenchError(f"{self.name}: {at} names row {row}, which is not there")
            if not claim.below:
                raise BenchError(f"{self.name}: {at} compares {claim.above} with nothing")
            if claim.margin < 0 or (claim.equal and claim.margin == 0):
                raise BenchError(
                    f"{self.name}: {at}.margin={claim.margin:g}: give at least 0, and more than 0 "
                    "for equal rows"
                )

    def _require_column(self, pattern: str, key: str) -> None:
        """A column, one of its points `metric@x`, or a pattern for columns."""
        base = pattern.partition("@")[0]
        if self.column(pattern) is not None or any(named(c, [base]) for c in self.columns):
            return
        self.require_name(pattern, self.columns, key)

    def require_name(self, name: str, known: Collection[str], key: str) -> None:
        """Refuse a name that nothing stands behind.

        Args:
            name: what was given.
            known: the names there are.
            key: where it was given.

        Raises:
            BenchError: with the closest known name, or all of them.
        """
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {close[0]}?" if close else f": {', '.join(known) or 'none'}"
            raise BenchError(f"{self.name}: {key} names {name}, which is not there{meant}")
