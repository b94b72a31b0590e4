"""`bregbench reproduce`: train what a published table is missing, then render it with verdicts."""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.console import fail, say
from bregbench.foundations.durations import parse_duration
from bregbench.foundations.errors import BenchError, Interrupted
from bregbench.foundations.own_packages import refuse_shadowed

if TYPE_CHECKING:
    from bregbench.reproduce.plan import Job
    from bregbench.tables.spec import Table


@dataclass
class Options:
    """Train what a published table is missing, then render it with verdicts."""

    table: str = option(
        "", help="a file in configs/table or configs/figure, such as bregman_table1"
    )
    rows: list[str] = option(default_factory=list, help="only these rows")
    parts: list[str] = option(
        default_factory=list, help="only these parts of a table that has several, with their runs"
    )
    seeds: list[int] = option(default_factory=list, help="only these seeds")
    epochs: int | None = option(None, help="shorten every run: results/reduced, no verdicts")
    dry_run: bool = option(False, help="print the plan with estimated hours and stop")
    train: bool = option(True, help="false: keep records of finished runs and render, no training")
    render: bool = option(False, help="render and nothing else")
    time_budget: str = option("", help="stop cleanly after 9m, 2h, ...; the same command resumes")
    data_root: str = option("data", help="folder with the data sets")
    data_path: str = option("", help="array archive, for data sets read from one")
    device: str = option("auto", help="auto, cpu or cuda")
    runs_dir: str = option("runs", help="where runs work")
    results_dir: str = option("results", help="where published numbers, records and tables lie")


EXAMPLES = (
    "bregman_table1 dry_run=true",
    "bregman_table1 time_budget=9m 'rows=[LinBreg]' seeds=0",
    "bregman_figure2 render=true",
)


def main() -> None:
    """Entry point; exits with 1 where a row failed, with 124 when the time budget is used up."""
    sys.exit(guarded(_command))


def _command() -> int:
    options = parse(
        Options, sys.argv[1:], command="bregbench reproduce", plain="table", examples=EXAMPLES
    )
    refuse_shadowed()
    from bregbench.figures.specs import load_table
    from bregbench.reproduce.plan import plan
    from bregbench.reproduce.render import render
    from bregbench.reproduce.train import keep_records, run_missing
    from bregbench.reproduce.tuning import untuned_jobs
    from bregbench.runs.workplace import Workplace
    from bregbench.tables.published import read_published

    if not options.table:
        raise BenchError("table= is missing: name a file of configs/table, such as bregman_table1")
    budget = parse_duration(options.time_budget, key="time_budget") if options.time_budget else None
    deadline = None if budget is None else time.monotonic() + budget
    table = load_table(options.table)
    place = Workplace.of(options)
    if options.epochs is not None:
        table = _reduced(table, options.epochs)
    if not table.ours:
        # Before anything is trained, so that a wrong folder is noticed now.
        read_published(place.published / f"{options.table}.csv")
    untuned = untuned_jobs(table, place, options.rows)
    if untuned:
        rows = dict.fromkeys(job.row for job in untuned)
        say(
            f"left out: {len(rows)} rows are not tuned yet: python -m bregbench.cli.tune "
            f"table={table.name}"
        )
    jobs = plan(
        table,
        place,
        rows=options.rows,
        seeds=options.seeds or table.seeds,
        parts=options.parts,
    )
    if options.dry_run:
        _print_plan(table, jobs)
        return 0
    failed: list[tuple[Job, str]] = []
    reduced_from = options.table if options.epochs is not None else ""
    try:
        if options.train and not options.render:
            jobs = _without_cuda(table, jobs, options)
            kept = None if options.epochs is not None else place.records
            failed = run_missing(jobs, kept, deadline=deadline)
        elif not options.render and options.epochs is None:
            say(f"kept: {keep_records(jobs, place.records)} new records")
    except (BenchError, Interrupted):
        render(table, place, reduced_from=reduced_from)
        raise
    render(table, place, reduced_from=reduced_from)
    for job, reason in failed:
        fail(f"failed: {job.label}, seed {job.config.seed}: {reason}")
    return 1 if failed else 0


def _without_cuda(table: Table, jobs: list[Job], options: Options) -> list[Job]:
    """The jobs for this machine: runs that take days on a CPU start there only on request.

    Raises:
        BenchError: nothing but runs that want CUDA is missing, there is none, and `device` is `auto`.
    """
    from bregbench.reproduce.train import lacks_cuda

    missing = [job for job in jobs if not job.done]
    wanting = [job for job in missing if job.cuda]
    if not wanting or not lacks_cuda(options.device):
        return jobs
    reason = f"{len(wanting)} runs that want CUDA, and there is none here"
    if len(wanting) == len(missing):
        raise BenchError(
            f"table={table.name} misses {reason}: run this on a machine with a GPU, or give "
            f"device=cpu and days{_instead(table)}"
        )
    say(f"left out: {reason}")
    return [job for job in jobs if job.done or not job.cuda]


def _instead(table: Table) -> str:
    """What else can be done without a GPU, as the end of a sentence."""
    if not table.on_cpu:
        return ""
    target = f"make reproduce-{table.on_cpu.replace('_', '-')}"
    return f"; `{target}` judges its claims on a smaller network that a CPU can train"


def _reduced(table: Table, epochs: int) -> Table:
    """The same rows, shortened: other runs, in a folder of their own, never judged."""
    return dataclasses.replace(
        table,
        name=f"reduced_{table.name}",
        experiment="",
        title=f"{table.title}; reduced to {epochs} epochs",
        shortened=epochs,
        command=f"table={table.name} epochs={epochs}",
    )


def _print_plan(table: Table, jobs: list[Job]) -> None:
    for job in jobs:
        state = "done" if job.done else f"{job.hours:.2f} h"
        print(f"{state:>8}  {job.label}, seed {job.config.seed}  ({job.config.hashed_name})")
    for label, row in table.rows.items():
        if row.not_run:
            print(f" not run  {label}: {row.not_run}")
    for name, detail in table.details.items():
        if detail.not_run:
            print(f" not run  {name}: {detail.not_run}")
    missing = [job for job in jobs if not job.done]
    hours = sum(job.hours for job in missing)
    print(f"{table.name}: {len(missing)} of {len(jobs)} runs missing, about {hours:.1f} h in all")


if __name__ == "__main__":
    main()
