"""Training the missing runs of a table, and keeping their records."""

from __future__ import annotations

import filecmp
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bregbench.foundations.console import say
from bregbench.foundations.errors import BenchError, Interrupted
from bregbench.foundations.files import write_json
from bregbench.foundations.interrupts import OUT_OF_TIME
from bregbench.reproduce.plan import Job
from bregbench.runs.agreement import refuse_disagreement
from bregbench.runs.bundling import keep_in_bundle
from bregbench.runs.records import export_record, record_of, with_evaluations_of
from bregbench.runs.train import run_directory, train
from bregbench.schema.config import Config
from bregbench.storage.directory import RunDirectory
from bregbench.storage.locking import InUse


def keep_records(jobs: list[Job], records_dir: Path) -> int:
    """Keep a record, or a line in a bundle, of every finished run that has none yet; how many that were.

    An existing record gains the evaluations that its run has gained. If run and record have different values
    of a metric, the record does not change, and a note is printed.
    """
    new = 0
    bundles: dict[Path, list[Config]] = {}
    for job in jobs:
        if job.bundle is not None:
            bundles.setdefault(job.bundle, []).append(job.config)
            continue
        run, record = run_directory(job.config), record_of(job.config, records_dir)
        if not run.complete:
            continue
        if not record.complete:
            refuse_disagreement(run, job.config.run_name, asked=job.config.settled())
            new += export_record(run, record, replace=False)
        elif filecmp.cmp(run.metrics, record.metrics, shallow=False):
            _keep_evaluations(run, record, record.path.relative_to(records_dir))
    return new + sum(keep_in_bundle(configs, path) for path, configs in bundles.items())


def _keep_evaluations(run: RunDirectory, record: RunDirectory, name: Path) -> None:
    if not _further(run, record, name):
        return
    with record.keeping():
        # Read again under the lock: another command may have added evaluations meanwhile.
        summary = _further(run, record, name)
        if summary:
            write_json(record.summary, summary)


def _further(run: RunDirectory, record: RunDirectory, name: Path) -> dict[str, Any] | None:
    try:
        return with_evaluations_of(run, record, name)
    except BenchError as error:
        # Measured times, for instance, always differ: other runs are trained all the same.
        say(f"note: the record stays as it is: {error}")
        return None


def run_missing(
    jobs: list[Job], records_dir: Path | None, *, deadline: float | None
) -> list[tuple[Job, str]]:
    """Train missing runs, continue after failures, and keep a record of each finished run.

    Args:
        jobs: the runs of a table.
        records_dir: where records are written; None writes none (reduced runs).
        deadline: reading of `time.monotonic` after which to stop; None for never.

    Returns:
        Failed jobs, each with the reason. A job that another process trains is reported, but has not failed.

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
        stopped = waits_for(job) or attempt(job.config, deadline=deadline)
        if stopped is not None:
            if stopped.failed:
                failed.append((job, stopped.reason))
            say(f"{'failed' if stopped.failed else 'left out'}: {stopped.reason}")
        elif records_dir is not None:
            keep_records([job], records_dir)
    return failed


def lacks_cuda(device: str) -> bool:
    """Whether runs that take days on a CPU must wait: the device is `auto`, and there is no GPU."""
    return device == "auto" and not torch.cuda.is_available()


class Stopped(NamedTuple):
    """Why a job is not complete.

    Attributes:
        reason: for messages.
        failed: False for a job that was interrupted or that another process trains.
    """

    reason: str
    failed: bool


def waits_for(job: Job) -> Stopped | None:
    """Why a job cannot begin; None if it can. While another process trains its source, it has not failed."""
    if not job.blocked:
        return None
    return Stopped(job.blocked, failed=job.source is None or not job.source.live)


def attempt(config: Config, *, deadline: float | None) -> Stopped | None:
    """Train a run, and return why it is not complete; None if it is.

    Raises:
        Interrupted: a signal or the deadline asked to stop.
    """
    try:
        train(config, deadline=deadline)
    except InUse as error:
        return Stopped(str(error), failed=False)
    except BenchError as error:
        return Stopped(str(error), failed=True)
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 - one broken row must not stop the others
        traceback.print_exception(error)
        return Stopped(f"{type(error).__name__}: {error}", failed=True)
    return None
