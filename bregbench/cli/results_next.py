"""`make results-next`: work through what the published tables still miss."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.console import fail
from bregbench.foundations.durations import parse_duration
from bregbench.foundations.errors import require
from bregbench.foundations.own_packages import refuse_shadowed


@dataclass
class Options:
    """Train what the published tables still miss, in the order of results/priority.yaml."""

    budget: str = option("150m", help="stop cleanly after 9m, 2h, ...; the same command resumes")
    workers: int = option(2, help="processes of one thread each")
    status: bool = option(False, help="only show what is done and what is missing")
    data_root: str = option("data", help="folder with the data sets")
    device: str = option("auto", help="auto, cpu or cuda")
    runs_dir: str = option("runs", help="where runs work")
    results_dir: str = option("results", help="where records and the priority list lie")


def main() -> None:
    """Entry point; exits with 1 where a run failed."""
    sys.exit(guarded(_command))


def _command() -> int:
    options = parse(Options, sys.argv[1:], command="python -m bregbench.cli.results_next")
    require(options.workers >= 1, "workers", options.workers, "at least 1")
    deadline = time.monotonic() + parse_duration(options.budget, key="budget")
    refuse_shadowed()
    from bregbench.reproduce.queue import jobs_in_order, read_priorities, work
    from bregbench.reproduce.train import lacks_cuda
    from bregbench.runs.workplace import Workplace

    results = Path(options.results_dir)
    place = Workplace(
        results=results,
        data_root=options.data_root,
        device=options.device,
        runs_dir=options.runs_dir,
    )
    jobs = jobs_in_order(read_priorities(results / "priority.yaml"), place)
    no_cuda = lacks_cuda(options.device)
    for job in jobs:
        state = "done" if job.done else "CUDA" if job.cuda and no_cuda else f"{job.hours:.2f} h"
        print(f"{state:>8}  {job.config.experiment_name}: {job.label}, seed {job.config.seed}")
    if no_cuda:
        waiting = sum(job.cuda and not job.done for job in jobs)
        jobs = [job for job in jobs if job.done or not job.cuda]
        if waiting:
            print(f"{waiting} runs wait for a machine with CUDA (or for device=cpu and days)")
    missing = [job for job in jobs if not job.done]
    hours = sum(job.hours for job in missing)
    print(f"{len(missing)} of {len(jobs)} runs missing, about {hours:.1f} h of one core")
    if options.status:
        return 0
    failed = work(jobs, workers=options.workers, deadline=deadline)
    for job, reason in failed:
        fail(f"failed: {job.config.experiment_name}, {job.label}, seed {job.config.seed}: {reason}")
    return 1 if failed else 0


if __name__ == "__main__":
    main()
