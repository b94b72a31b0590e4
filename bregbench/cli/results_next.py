"""`make results-next`: work through what the published tables still miss."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.cli.status import show
from bregbench.foundations.console import fail
from bregbench.foundations.durations import parse_duration
from bregbench.foundations.errors import require
from bregbench.foundations.own_packages import refuse_shadowed


@dataclass
class Options:
    """Train what the published tables still miss, in the order of results/priority.yaml."""

    budget: str = option("150m", help="stop cleanly after 9m, 2h, ...; the same command resumes")
    workers: int = option(2, help="processes of one thread each")
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
    from bregbench.reproduce.queue import read_priorities, work
    from bregbench.reproduce.tuning import choose_tuned
    from bregbench.runs.workplace import Workplace

    place = Workplace.of(options)
    items = read_priorities(place.results / "priority.yaml")
    choose_tuned([item.table for item in items], place)
    jobs = show(place)
    failed = work(jobs, workers=options.workers, deadline=deadline)
    for job, reason in failed:
        fail(f"failed: {job.config.experiment_name}, {job.label}, seed {job.config.seed}: {reason}")
    return 1 if failed else 0


if __name__ == "__main__":
    main()
