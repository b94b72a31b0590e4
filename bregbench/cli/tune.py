"""`python -m bregbench.cli.tune`: train what the rows of a table try on validation images, and choose."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.console import fail, say
from bregbench.foundations.durations import parse_duration
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.own_packages import refuse_shadowed

if TYPE_CHECKING:
    from bregbench.reproduce.plan import Job


@dataclass
class Options:
    """Train the sets of overrides that the rows of a table declare, and let validation images choose."""

    table: str = option("", help="a file in configs/table or configs/figure with tuning")
    rows: list[str] = option(default_factory=list, help="only these rows")
    budget: str = option("", help="stop cleanly after 9m, 2h, ...; the same command resumes")
    workers: int = option(1, help="processes of one thread each; 1: this one")
    dry_run: bool = option(False, help="print the plan with estimated hours and stop")
    train: bool = option(True, help="false: keep finished runs and choose, no training")
    data_root: str = option("data", help="folder with the data sets")
    device: str = option("auto", help="auto, cpu or cuda")
    runs_dir: str = option("runs", help="where runs work")
    results_dir: str = option("results", help="where bundles and choices lie")


def main() -> None:
    """Entry point; exits with 1 where a run failed, with 124 when the budget is used up."""
    sys.exit(guarded(_command))


def _command() -> int:
    options = parse(Options, sys.argv[1:], command="python -m bregbench.cli.tune")
    require(options.workers >= 1, "workers", options.workers, "at least 1")
    if not options.table:
        raise BenchError("table= is missing: name a file of configs/table or configs/figure")
    budget = parse_duration(options.budget, key="budget") if options.budget else None
    deadline = None if budget is None else time.monotonic() + budget
    refuse_shadowed()
    from bregbench.figures.specs import load_table
    from bregbench.reproduce.tuning import keep_trials, trial_jobs
    from bregbench.runs.workplace import Workplace

    table = load_table(options.table)
    if not any(row.tuning for row in table.rows.values()):
        raise BenchError(f"table={options.table} has no row with sets of overrides to try")
    place = Workplace.of(options)
    jobs = trial_jobs(table, place, options.rows)
    if options.dry_run:
        _print_plan(jobs)
        return 0
    failed: list[tuple[Job, str]] = []
    try:
        if options.train:
            failed = _trained(jobs, options.workers, place.records, deadline)
    finally:
        keep_trials(table, place)
    for row in table.rows:
        if table.rows[row].tuning and (not options.rows or row in options.rows):
            chosen = table.chosen(row, place)
            say(f"{row}: {'not tuned yet' if chosen is None else ' '.join(chosen)}")
    for job, reason in failed:
        fail(f"failed: {job.label}: {reason}")
    return 1 if failed else 0


def _trained(
    jobs: list[Job], workers: int, records: Path, deadline: float | None
) -> list[tuple[Job, str]]:
    from bregbench.reproduce.queue import work
    from bregbench.reproduce.train import run_missing

    if workers > 1:
        return work(jobs, workers=workers, deadline=deadline)
    return run_missing(jobs, records, deadline=deadline)


def _print_plan(jobs: list[Job]) -> None:
    for job in jobs:
        state = "done" if job.done else f"{job.hours:.2f} h"
        print(f"{state:>8}  {job.label}  ({job.config.hashed_name})")
    missing = [job for job in jobs if not job.done]
    hours = sum(job.hours for job in missing)
    print(f"{len(missing)} of {len(jobs)} trials missing, about {hours:.1f} h of one core")


if __name__ == "__main__":
    main()
