"""A table of a paper: its rows, columns and seeds, and the runs behind its cells."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from bregbench.foundations.errors import BenchError
from bregbench.runs.train import run_directory
from bregbench.runs.workplace import Workplace
from bregbench.schema.config import Config
from bregbench.schema.pieces import compose_from_pieces
from bregbench.storage.bundles import bundle_path
from bregbench.storage.weights import Selection
from bregbench.tables.changes import begin_with, shorten
from bregbench.tables.checks import TableChecks
from bregbench.tables.elements import (
    Claim,
    Column,
    Layout,
    Part,
    Row,
    Tuning,
)
from bregbench.tables.tuning import best_of, read_trials


@dataclass
class Table(TableChecks):
    """A table of a paper; its published numbers are in `results/published/<name>.csv`.

    Attributes:
        name: `<paper>_table<N>` or `<paper>_figure<N>`.
        experiment: experiment name of the runs, equal for tables that share runs; `name` if empty.
        title: heading.
        selection: which epoch the columns show.
        seeds: the seeds of every row.
        common: overrides of every row.
        parts: if a row consists of several runs, the overrides of each by a name, such as a data set, with
            which the names of its columns begin.
        details: further settings of parts, by name.
        columns: columns by metric; `metric` also describes all its points `metric@x`; `best metric` is the
            metric of the best validation epoch, whatever `selection` is.
        rows: rows by the label of the published table. If every point of a curve has its own run, the row
            `label@x` fills `metric@x` of the published row `label`.
        claims: orderings that the paper states for the table, which have their own verdicts.
        remarks: what a reader must know, one line each.
        command: arguments of bregbench reproduce that select the table; `table=<name>` if empty.
        cuda: whether its runs are too long for a CPU.
        on_cpu: the table that stands for it where there is no CUDA: a smaller network, the same claims.
        missing: what cells say whose runs are not there yet.
        ours: nothing of it is published: every row has every column, without verdicts.
        tuning: how rows with several sets of overrides to try are tuned.
        bundle: keep its runs in bundles, a file a row, instead of in a record each.
        shortened: epochs to which every phase of every run is cut; None for runs in full length.
    """

    name: str = MISSING
    experiment: str = ""
    title: str = MISSING
    selection: Selection = Selection.last
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    common: list[str] = field(default_factory=list)
    parts: dict[str, list[str]] = field(default_factory=dict)
    details: dict[str, Part] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    command: str = ""
    cuda: bool = False
    on_cpu: str = ""
    missing: str = "not run yet"
    ours: bool = False
    tuning: Tuning = field(default_factory=Tuning)
    bundle: bool = False
    shortened: int | None = None

    def layout(self) -> Layout:
        """How the cells lie on a page."""
        return Layout()

    def header(self, name: str) -> str:
        """The heading of a column; for a point `metric@x`, the heading of the metric and x."""
        known = self.columns.get(name)
        if known is not None:
            return known.header or name
        base, at, place = name.rpartition("@")
        above = self.columns.get(base)
        return f"{(above.header if above is not None else '') or base}{at}{place}"

    def row_of(self, label: str, column: str) -> str:
        """The row whose run fills a cell: `label@x` for a column `metric@x` if there is one, else `label`."""
        at = column.rpartition("@")[2]
        return point if (point := f"{label}@{at}") in self.rows else label

    def part(self, column: str) -> str:
        """The part whose runs a column shows; empty where a row is one run."""
        known = self.column(column)
        if known is not None and known.part:
            return known.part
        return max((p for p in self.parts if column.startswith(f"{p} ")), key=len, default="")

    def used_parts(self) -> list[str]:
        """The parts in their order, and an empty name if there are columns without a part."""
        whole = not self.parts or any(not self.part(column) for column in self.columns)
        return [*self.parts, *([""] if whole else [])]

    def detail(self, part: str) -> Part:
        """Further settings of a part."""
        return self.details.get(part) or Part()

    def not_run(self, row: str, part: str) -> str:
        """Why the runs of a row in a part cannot be trained; empty if they can."""
        return self.rows[row].not_run or self.detail(part).not_run

    def wants_cuda(self, part: str) -> bool:
        """Whether the runs of a part are too long for a CPU."""
        return self.cuda or self.detail(part).cuda

    def metric(self, label: str, column: str) -> str:
        """The metric that a cell shows; for a point `metric@x`, the metric that `Row.points` names."""
        row = self.row_of(label, column)
        others = self.rows[row].metrics if row in self.rows else {}
        shown = others.get(column) or others.get("*") or self._shown(column)
        metric, _, at = shown.split()[-1].partition("@")
        if not at or row != label:
            return metric
        points = self.rows[row].points
        return points.format(x=at) if points else f"{metric}@{at}"

    def selection_of(self, column: str) -> Selection:
        """The epoch that a column shows: the best one if its metric begins with the word `best`."""
        best = Selection.best in self._shown(column).split()[:-1]
        return Selection.best if best else self.selection

    def _shown(self, column: str) -> str:
        known = self.column(column)
        return (known.metric if known is not None else "") or column

    def overrides(self, row: str, part: str = "", more: Sequence[str] = ()) -> list[str]:
        """What the run behind a row is, in the order in which the last one counts; `more` after its own."""
        detail = self.detail(part)
        own = [] if detail.shared else [*self.rows[row].overrides, *more]
        whole = [*self.common, *self.parts.get(part, []), *own, *detail.rows.get(row, [])]
        return [_with_values(override, detail.values) for override in whole]

    def trials_of(self, place: Workplace) -> Path:
        """The file of what was tried for its rows."""
        return place.results / "tuning" / f"{self.name}.csv"

    def chosen(self, row: str, place: Workplace) -> list[str] | None:
        """What tuning has chosen for a row; None where that is still to be done, [] where there is no choice.

        Shortened runs are not tuned: they take the first set.
        """
        declared = self.rows[row].tuning
        if not declared or self.shortened is not None:
            return declared[0] if declared else []
        return best_of(row, declared, read_trials(self.trials_of(place)))

    def config(
        self, row: str, seed: int, place: Workplace | None = None, *, part: str = ""
    ) -> Config:
        """The run behind a row and a seed.

        Raises:
            BenchError: the row is still to be tuned.
        """
        chosen = self.chosen(row, place or Workplace())
        if chosen is None:
            raise BenchError(
                f"row {row} of {self.name} is still to be tuned: python -m bregbench.cli.tune "
                f"table={self.name} 'rows=[\"{row}\"]'"
            )
        return self.config_with(chosen, row, seed, place, part=part)

    def trial_config(self, row: str, number: int, place: Workplace) -> Config:
        """The run that tries a set of overrides of a row, which never sees test images."""
        place = place.but("evaluators.accuracy.test=false")
        overrides = self.rows[row].tuning[number]
        return self.config_with(overrides, row, self.tuning.seed, place, part=self.tuning.part)

    def config_with(
        self,
        more: list[str],
        row: str,
        seed: int,
        place: Workplace | None = None,
        *,
        part: str = "",
    ) -> Config:
        """The run behind a row and a seed with further overrides.

        Args:
            more: overrides after those of the row.
            row: its label.
            seed: its seed.
            place: where and on what to run; the default folders and device if None.
            part: which of the row's runs, if there are several.
        """
        composed = compose_from_pieces(
            *self.overrides(row, part, more),
            f"experiment_name={self.experiment or self.name}",
            "tracking=none",
            *(place or Workplace()).overrides(),
        )
        config = dataclasses.replace(composed, seed=seed)
        if self.shortened is not None:
            config = shorten(config, self.shortened)
        source = self.source(row, seed, place, part=part)
        if source is not None:
            config = begin_with(config, run_directory(source))
        return config

    def bundle_of(self, row: str, seed: int, place: Workplace) -> Path | None:
        """The bundle that keeps the run behind a row and a seed; None where a record keeps it."""
        if not self.bundle or (self.rows[row].weights and seed == 0):
            return None
        return bundle_path(place.bundles, self.experiment or self.name, row)

    def all_overrides(self) -> list[list[str]]:
        """The overrides of all its runs, for `bregbench.schema.pieces.prepare`."""
        parts = self.used_parts()
        runs = itertools.product(self.rows, parts)
        tried = [
            self.overrides(row, self.tuning.part, more)
            for row, known in self.rows.items()
            for more in known.tuning
        ]
        return [*(self.overrides(*run) for run in runs if not self.not_run(*run)), *tried]

    def source(
        self, row: str, seed: int, place: Workplace | None = None, *, part: str = ""
    ) -> Config | None:
        """The run that the run behind a row and a seed begins with, if any."""
        source = self.rows[row].source
        return self.config(source, seed, place, part=part) if source else None


def _with_values(override: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        override = override.replace(f"<{name}>", value)
    return override
