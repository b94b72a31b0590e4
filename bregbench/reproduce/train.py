"""Training what a table is missing, and keeping records of it."""

from __future__ import annotations

import filecmp
import time
import traceback
from pathlib import Path

import torch

from bregbench.foundations.console import say
from bregbench.foundations.errors import BenchError, Interrupted
from bregbench.foundations.files import write_json
from bregbench.foundations.interrupts import OUT_OF_TIME
from bregbench.reproduce.plan import Job
from bregbench.runs.records import export_record, record_of, with_evaluations_of
from bregbench.runs.train import run_directory, train
from bregbench.schema.config import Config


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
