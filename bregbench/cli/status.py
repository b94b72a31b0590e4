"""`bregbench status`: what of the published results is there and what is still missing."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.own_packages import refuse_shadowed

if TYPE_CHECKING:
    from bregbench.reproduce.plan import Job
    from bregbench.runs.workplace import Workplace


@dataclass
class Options:
    """Show which runs of the published tables are done and which are missing.

    They come in the order of results/priority.yaml, in which `make results-next` trains them.
    """

    data_root: str = option("data", help="folder with the data sets")
    device: str = option("auto", help="auto, cpu or cuda")
    runs_dir: str = option("runs", help="where runs work")
    results_dir: str = option("results", help="where records and the priority list lie")


def main() -> None:
    """Entry point."""
    sys.exit(guarded(_command))


def _command() -> int:
    options = parse(Options, sys.argv[1:], command="bregbench status")
    refuse_shadowed()
    from bregbench.runs.workplace import Workplace

    place = Workplace.of(options)
    show(place)
    return 0


def show(place: Workplace) -> list[Job]:
    """Print the state of every run in the priority list; those that this machine can train."""
    from bregbench.reproduce.queue import jobs_in_order, read_priorities
    from bregbench.reproduce.train import lacks_cuda

    jobs = jobs_in_order(read_priorities(place.results / "priority.yaml"), place)
    no_cuda = lacks_cuda(place.device)
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
    return jobs


if __name__ == "__main__":
    main()
