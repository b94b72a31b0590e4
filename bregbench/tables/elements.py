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
        overrides: of the run, beyond those common to the table.
        variant: which network of the final evaluation the row shows.
        steered: columns whose published value a setting was chosen to hit; `*` in a name stands for
            anything (`density/total@*`: the whole curve).
        constructed: columns whose value could not be otherwise, whatever the training does (the density
            of a dense network, what is there before the first step); likewise with `*`.
        points: of a row over some x: the final metric behind a column `metric@x`, with `{x}` for x, such
            as `resolution/bilinear_{x}`; empty where x is the epoch.
        hours: rough cost of one run on one CPU core, for plans before there is a record.
        not_run: why this row cannot be run; empty if it can.
        missing: what its cells say while its runs are not there; that of its part or table if empty.
        metrics: by column, what the row shows where it is not the column's metric (where rows are
            layers, for instance); `*` stands for every column.
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
        beside: the columns (densities) that must be matched for this one to be judged.
        against: the columns that this one trades off with: it is better only where these hold.
        header: heading; the metric's name if empty.
        unit: of a number that no paper has; otherwise the published one counts.
        metric: what is shown; the column's name if empty.
        extra: shown beside the published columns, in every row that can be run, without a verdict.
        part: the part of the table whose runs it shows; by the words that it begins with if empty.
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
    """What else is to be said of a part of a table.

    Attributes:
        rows: overrides of single rows in it, after those of the row.
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
    """What a paper says of a column: that one row lies above others, or that rows are equal.

    Attributes:
        text: the claim in a few words.
        column: of the table.
        above: the row with the larger number.
        below: the rows with smaller ones.
        other: the column of the rows below where it is another one (a later epoch, for instance).
        margin: in the unit of the column: how far the row may lie below the others and the claim still
            holds ("loses at most half a point"); of equal rows, how far they may lie apart.
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
        panels: of curves: how the labels of the rows in a grid begin.
        x: of curves: what x is.
        points: whether headings of metrics hold for their points `metric@epoch`, too.
    """

    curves: bool = False
    panels: tuple[str, ...] = ()
    x: str = ""
    points: bool = False


def named(column: str, patterns: Collection[str]) -> bool:
    """Whether one of the patterns means a column; `*` stands for anything, brackets for themselves."""
    return any(fnmatch.fnmatchcase(column, p.replace("[", "[[]")) for p in patterns)
