"""Which runs a table needs, which of them are done, and what the others cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bregbench.foundations.console import Patience
from bregbench.foundations.errors import BenchError
from bregbench.runs.train import run_directory
from bregbench.runs.workplace import Workplace
from bregbench.schema.config import Config
from bregbench.schema.pieces import prepare
from bregbench.storage.directory import RunDirectory
from bregbench.tables.precisions import finished, to_train
from bregbench.tables.spec import Table


@dataclass(frozen=True)
class Job:
    """One run of a table.

    Attributes:
        row: label of its row.
        config: the run.
        done: whether a record or a finished run directory exists.
        hours: estimated hours of the epochs that are left.
        part: the part of the table; empty where a row is one run.
        cuda: whether it is too long for a CPU.
        source: the run that it begins with, if any and if it is still to be trained.
        bundle: the bundle that keeps it; None where a record does.
    """

    row: str
    config: Config
    done: bool
    hours: float
    part: str = ""
    cuda: bool = False
    source: RunDirectory | None = None
    bundle: Path | None = None

    @property
    def label(self) -> str:
        """Row and part, for messages."""
        return f"{self.row}, {self.part}" if self.part else self.row

    @property
    def blocked(self) -> str:
        """Why the run cannot be trained yet; empty if it can."""
        if self.source is None or self.source.complete:
            return ""
        return f"it begins with {self.source.path}, which is not finished: train that row first"


def plan(
    table: Table,
    place: Workplace,
    *,
    rows: list[str],
    seeds: list[int],
    parts: list[str] | None = None,
    patience: Patience | None = None,
) -> list[Job]:
    """The runs of a table, ordered by seed: all rows with one seed come before any row with the next seed.

    Args:
        table: what the rows and columns are.
        place: where records and finished runs are looked for, and where runs work.
        rows: only these; empty for all.
        seeds: of every row.
        parts: only these; empty or None for all.
        patience: reports the progress of planning on stderr; several tables can share one.

    Returns:
        The runs of rows that are tuned; of the others `reproduce.tuning.trial_jobs` knows what to do first.

    Raises:
        BenchError: a row or a part is not in the table.
    """
    strange = [part for part in parts or [] if part not in table.parts]
    if strange:
        known = ", ".join(table.parts) or "none"
        raise BenchError(f"parts={strange} are not in {table.name}: it has {known}")
    unknown = [row for row in rows if not table.points_of(row)]
    wanted = [point for row in rows for point in table.points_of(row)]
    if unknown:
        raise BenchError(f"rows={unknown} are not in {table.name}: it has {', '.join(table.rows)}")
    patience = patience or Patience()
    prepare(table.all_overrides(), patience.say)
    jobs: list[Job] = []
    shared: set[tuple[str, str, int]] = set()
    for seed in seeds:
        for label, row in table.rows.items():
            if rows and label not in wanted:
                continue
            for part in parts or table.used_parts():
                if table.not_run(label, part) or table.chosen(label, place) is None:
                    continue
                patience.say(f"reading records: {table.name}, seed {seed}, {label}")
                detail = table.detail(part)
                behind = finished(table, label, seed, place, part=part)
                done = behind is not None
                config, source = (
                    (behind[0], None)
                    if behind is not None
                    else to_train(table, label, seed, place, part=part)
                )
                key = (part, config.hashed_name, seed)
                if detail.shared and key in shared:
                    continue
                shared.add(key)
                hours = 0.0 if done else hours_left(config, detail.hours or row.hours)
                cuda = table.wants_cuda(part)
                bundle = table.bundle_of(label, seed, place)
                jobs.append(Job(label, config, done, hours, part, cuda, source, bundle))
    return jobs


def hours_left(config: Config, hours: float) -> float:
    """What a run still costs: from its own pace where it has begun, else from the table's guess."""
    rows = run_directory(config).read_metrics()
    epochs = sum(phase.epochs for phase in config.run_phases())
    if not rows:
        return hours
    pace = sum(row["seconds"] for row in rows) / len(rows)
    return max(epochs - len(rows), 0) * pace / 3600
