"""What a table consists of: rows made of overrides, columns made of metrics, parts and claims."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection
from dataclasses import dataclass, field

from omegaconf import MISSING

from bregbench.tables.verdicts import Better


@dataclass
class Row:
    """One row of a table.

    Attributes:
        overrides: overrides of the run, after those common to the table.
        variant: which network of the final evaluation the row shows.
        steered: columns whose value was tuned to the published one by a setting; `*` in a name stands for
            anything (`density/total@*`: the whole curve).
        constructed: columns whose value does not depend on training (the density of a dense network, metrics
            before the first step); `*` as in `steered`.
        points: for a curve over another x than epochs, the final metric behind a column `metric@x`, with
            `{x}` for x, such as `resolution/bilinear_{x}`; empty if x is the epoch.
        hours: rough hours of one run on one CPU core, for plans.
        not_run: why this row cannot be run; empty if it can.
        missing: text of the row's cells while its runs are missing; if empty, that of its part or table.
        metrics: metrics by column where the row does not show the column's metric (rows that are layers,
            for instance); `*` stands for every column.
        source: the row whose run of the same seed this one begins with (`phases=transfer`).
        weights: of tables in bundles: keep the run of seed 0 as a record, with its weights.
        tuning: sets of further overrides, of which validation images choose one; see `Tuning`.
    """

    overrides: list[str] = field(default_factory=list)
    variant: str = "trained"
    steered: list[str] = field(default_factory=list)
    constructed: list[str] = field(default_factory=list)
    points: str = ""
    hours: float = 0.5
    not_run: str = ""
    missing: str = ""
    metrics: dict[str, str] = field(default_factory=dict)
    source: str = ""
    weights: bool = False
    tuning: list[list[str]] = field(default_factory=list)


@dataclass
class Column:
    """One column of a table.

    Attributes:
        better: which direction is an improvement.
        beside: the columns (densities) that must be matched before this column is judged.
        against: the columns that trade off with this column: BETTER requires that they hold.
        header: heading; the metric's name if empty.
        unit: unit of numbers that are not published; published numbers have their own unit.
        metric: the metric that is shown; the column's name if empty.
        extra: whether the column is shown without a verdict, in every row that can be run.
        part: the part of the table whose runs the column shows; if empty, the longest part name that begins
            the column's name.
    """

    better: Better = Better.neither
    beside: list[str] = field(default_factory=list)
    against: list[str] = field(default_factory=list)
    header: str = ""
    unit: str = "1"
    metric: str = ""
    extra: bool = False
    part: str = ""


@dataclass
class Part:
    """Further settings of a part of a table.

    Attributes:
        rows: overrides in this part by row, after those of the row.
        shared: whether the rows' own overrides are left out, so that all of them show the same run.
        hours: rough cost of one run on one CPU core; the row's if None.
        cuda: whether its runs are too long for a CPU.
        missing: what its cells say whose runs are not there yet; the table's if empty.
        not_run: why its runs cannot be made; empty if they can.
        values: what stands for `<name>` in overrides of rows, such as `density: 0.02`.
    """

    rows: dict[str, list[str]] = field(default_factory=dict)
    shared: bool = False
    hours: float | None = None
    cuda: bool = False
    missing: str = ""
    not_run: str = ""
    values: dict[str, str] = field(default_factory=dict)


#: sets of overrides that a row may try: equal budgets are a part of the comparison
MOST_TRIALS = 8


@dataclass
class Tuning:
    """How the rows of a table that have sets of overrides to try are tuned.

    Every set is trained once, in one part of the table, with a seed that the table does not use, and never
    sees test images. The best validation accuracy after the last epoch wins, the first of equals.

    Attributes:
        part: the part in which it is done; the others take what was chosen there.
        seed: of all these runs.
    """

    part: str = ""
    seed: int = 1000


@dataclass
class Claim:
    """A paper's claim on a column: one row lies above others, or rows are equal.

    Attributes:
        text: the claim in a few words.
        column: name of the column.
        above: the row with the larger number.
        below: the rows with smaller numbers.
        other: the column of the rows `below`, if it differs from `column` (a later epoch, for instance).
        margin: how far `above` may lie below the other rows ("loses at most half a point"), or equal rows
            may lie apart, in the unit of the column.
        equal: whether the claim is that the rows are equal up to the margin.
    """

    text: str = MISSING
    column: str = MISSING
    above: str = MISSING
    below: list[str] = field(default_factory=list)
    other: str = ""
    margin: float = 0.0
    equal: bool = False


@dataclass(frozen=True)
class Layout:
    """How the cells of a table lie on a page.

    Attributes:
        curves: whether columns are points `metric@x` of curves, with x down the page.
        panels: for curves, one grid for each prefix of row labels.
        x: for curves, the name of x.
        points: whether the heading of a metric also names its points `metric@epoch`.
    """

    curves: bool = False
    panels: tuple[str, ...] = ()
    x: str = ""
    points: bool = False


def named(column: str, patterns: Collection[str]) -> bool:
    """Whether a column matches a pattern; `*` stands for any characters, brackets for themselves."""
    return any(fnmatch.fnmatchcase(column, p.replace("[", "[[]")) for p in patterns)
