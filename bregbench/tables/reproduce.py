"""Training what a table is missing, row by row and seed by seed."""

from __future__ import annotations

import filecmp
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch

from bregbench.config import Config
from bregbench.console import say
from bregbench.errors import BenchError, Interrupted
from bregbench.files import write_json
from bregbench.interrupts import OUT_OF_TIME
from bregbench.records import export_record, record_of, with_evaluations_of
from bregbench.run import run_directory, train
from bregbench.run_dir import RunDirectory
from bregbench.tables.precisions import finished, to_train
from bregbench.tables.spec import Table


@dataclass(frozen=True)
class Job:
    """One run of a table.

    Attributes:
        row: label of its row.
        config: the run.
        done: whether a record or a finished run directory exists.
        hours: estimated cost; of a run that has begun, of the rest.
        part: the part of the table; empty where a row is one run.
        cuda: whether it is too long for a CPU.
        source: the run that it begins with, if any and if it is still to be trained.
    """

    row: str
    config: Config
    done: bool
    hours: float
    part: str = ""
    cuda: bool = False
    source: RunDirectory | None = None

    @property
    def label(self) -> str:
        """Row and part, for people."""
        return f"{self.row}, {self.part}" if self.part else self.row

    @property
    def blocked(self) -> str:
        """What it still waits for; empty if it can be trained."""
        if self.source is None or self.source.complete:
            return ""
        return f"it begins with {self.source.path}, which is not finished: train that row first"


def plan(
    table: Table,
    records_dir: Path,
    *local: str,
    rows: list[str],
    seeds: list[int],
    parts: list[str] | None = None,
) -> list[Job]:
    """The runs of a table, in the order of seeds first: one seed everywhere beats three somewhere.

    Args:
        table: what the rows and columns are.
        records_dir: where records are looked for.
        local: overrides that say where runs and data are.
        rows: only these; empty for all.
        seeds: of every row.
        parts: only these; empty or None for all.

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
    jobs: list[Job] = []
    shared: set[tuple[str, str, int]] = set()
    for seed in seeds:
        for label, row in table.rows.items():
            if rows and label not in wanted:
                continue
            for part in parts or table.used_parts():
                if table.not_run(label, part):
                    continue
                detail = table.detail(part)
                behind = finished(table, label, seed, records_dir, *local, part=part)
                done = behind is not None
                config, source = (
                    (behind[0], None)
                    if behind is not None
                    else to_train(table, label, seed, records_dir, *local, part=part)
                )
                key = (part, config.hashed_name, seed)
                if detail.shared and key in shared:
                    continue
                shared.add(key)
                hours = 0.0 if done else _hours_left(config, detail.hours or row.hours)
                cuda = table.wants_cuda(part)
                jobs.append(Job(label, config, done, hours, part, cuda, source))
    return jobs


def keep_records(jobs: list[Job], records_dir: Path) -> int:
    """Keep a record of every finished run that has none yet; how many that were.

    A record whose run has been measured with more evaluators since gets these numbers; it stays as it
    is, and that is said, where the two have measured something differently.
    """
    new = 0
    for job in jobs:
        run, record = run_directory(job.config), record_of(job.config, records_dir)
        if not run.complete:
            continue
        if not record.complete:
            export_record(run, record)
            new += 1
        elif filecmp.cmp(run.metrics, record.metrics, shallow=False):
            try:
                summary = with_evaluations_of(run, record, record.path.relative_to(records_dir))
            except BenchError as error:
                # Such as times, which differ whenever they are taken: no reason to train nothing.
                say(f"note: the record stays as it is: {error}")
                continue
            if summary is not None:
                write_json(record.summary, summary)
    return new


def run_missing(
    jobs: list[Job], records_dir: Path | None, *, deadline: float | None
) -> list[tuple[Job, str]]:
    """Train what is missing, go on past failures, and keep a record of everything finished.

    Args:
        jobs: what a table consists of.
        records_dir: where records are written; None writes none (reduced runs).
        deadline: reading of `time.monotonic` after which to stop; None for never.

    Returns:
        Failed jobs and why.

    Raises:
        Interrupted: a signal or the deadline asked to stop; everything is saved.
    """
    if records_dir is not None:
        keep_records(jobs, records_dir)
    missing = [job for job in jobs if not job.done]
    failed: list[tuple[Job, str]] = []
    for number, job in enumerate(missing, start=1):
        if deadline is not None and time.monotonic() > deadline:
            raise Interrupted("time budget used up", code=OUT_OF_TIME)
        say(f"job {number}/{len(missing)}: {job.label}, seed {job.config.seed}")
        reason = job.blocked or attempt(job.config, deadline=deadline)
        if reason:
            failed.append((job, reason))
            say(f"failed: {reason}")
        elif records_dir is not None:
            keep_records([job], records_dir)
    return failed


def lacks_cuda(device: str) -> bool:
    """Whether runs that take days on a CPU must wait: there is no GPU, and nobody asked for a CPU."""
    return device == "auto" and not torch.cuda.is_available()


def attempt(config: Config, *, deadline: float | None) -> str | None:
    """Train a run; why it failed, or None.

    Raises:
        Interrupted: a signal or the deadline asked to stop.
    """
    try:
        train(config, deadline=deadline)
    except BenchError as error:
        return str(error)
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 - one broken row must not stop the others
        traceback.print_exception(error)
        return f"{type(error).__name__}: {error}"
    return None


def _hours_left(config: Config, hours: float) -> float:
    """What a run still costs: from its own pace where it has begun, else from the table's guess."""
    rows = run_directory(config).read_metrics()
    epochs = sum(phase.epochs for phase in config.run_phases())
    if not rows:
        return hours
    pace = sum(row["seconds"] for row in rows) / len(rows)
    return max(epochs - len(rows), 0) * pace / 3600
