"""Training the missing runs of the published tables, in the order of a priority list.

Runs go to `runs_dir` and nowhere else: records and tables are written by `bregbench reproduce`, when
somebody decides to keep them. What tuning has chosen is written to `results/tuning`, because the runs that
follow depend on it.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bregbench.figures.specs import load_table
from bregbench.foundations.console import Patience, say
from bregbench.foundations.errors import BenchError, Interrupted
from bregbench.foundations.interrupts import end_with_parent, orphaned
from bregbench.reproduce.plan import Job, plan
from bregbench.reproduce.train import Stopped, attempt, waits_for
from bregbench.reproduce.tuning import untuned_jobs
from bregbench.runs.workplace import Workplace
from bregbench.schema.pieces import prepare

if TYPE_CHECKING:
    from bregbench.schema.config import Config


@dataclass
class Item:
    """One line of the priority list: rows, parts and seeds of a table; empty means all."""

    table: str = MISSING
    rows: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)


@dataclass
class Priorities:
    """The committed priority list, most urgent item first."""

    items: list[Item] = field(default_factory=list)


def read_priorities(path: Path) -> list[Item]:
    """The priority list of a YAML file with a key `items`.

    Raises:
        BenchError: the file is missing, or is no priority list.
    """
    if not path.is_file():
        raise BenchError(f"priority list {path} is missing: give results_dir=FOLDER")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Priorities), OmegaConf.load(path))
        priorities = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise BenchError(f"{path}: {str(error).splitlines()[0]}") from error
    assert isinstance(priorities, Priorities)
    return priorities.items


def jobs_in_order(items: list[Item], place: Workplace) -> list[Job]:
    """All runs that the list names, each once, in its order; of rows to be tuned the trials."""
    tables = {name: load_table(name) for name in dict.fromkeys(item.table for item in items)}
    patience = Patience()
    runs = itertools.chain.from_iterable(table.all_overrides() for table in tables.values())
    prepare(runs, patience.say)
    jobs: dict[tuple[str, int], Job] = {}
    for item in items:
        table = tables[item.table]
        found = plan(
            table,
            place,
            rows=item.rows,
            seeds=item.seeds or table.seeds,
            parts=item.parts,
            patience=patience,
        )
        for job in [*untuned_jobs(table, place, item.rows), *found]:
            key = (f"{table.name}/{job.config.hashed_name}", job.config.seed)
            jobs.setdefault(key, job)
    return list(jobs.values())


def work(jobs: list[Job], *, workers: int, deadline: float | None) -> list[tuple[Job, str]]:
    """Train the missing jobs in several single-threaded processes.

    At the deadline, on SIGTERM and on Ctrl-C unfinished runs are saved, and the next call continues them.
    Neither they nor runs that another command trains have failed. A killed process fails its own job only.
    The processes end with this process, even if it is killed.

    Returns:
        Failed jobs, each with the reason.

    Raises:
        Interrupted: SIGTERM arrived and the workers have stopped.
    """
    waiting = [job for job in jobs if not job.done]
    failed: list[tuple[Job, str]] = []
    running: dict[Future[Stopped | None], tuple[Job, _Worker]] = {}
    with contextlib.ExitStack() as stack, _sigterm_for_workers():
        idle = [stack.enter_context(contextlib.closing(_Worker())) for _ in range(workers)]
        while True:
            while idle and not _late(deadline) and (job := _take(waiting)):
                say(f"next: {_label(job)}")
                worker = idle.pop()
                running[worker.submit(job.config, deadline)] = job, worker
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job, worker = running.pop(future)
                idle.append(worker)
                stopped = _stopped(future)
                if stopped is not None:
                    say(f"stopped: {_label(job)}: {stopped.reason}")
                    if stopped.failed:
                        failed.append((job, stopped.reason))
    if not _late(deadline):
        failed += [(job, job.blocked) for job in waiting if _has_failed(job)]
    return failed


def _has_failed(job: Job) -> bool:
    stopped = waits_for(job)
    return stopped is not None and stopped.failed


class _Worker:
    """A process that trains one job after the other, and is replaced if it was killed.

    Each worker has its own pool, because a killed process breaks its whole pool.
    """

    def __init__(self) -> None:
        self._pool = self._open()

    def submit(self, config: Config, deadline: float | None) -> Future[Stopped | None]:
        """Begin with a job."""
        try:
            return self._pool.submit(_train, config, deadline)
        except BrokenProcessPool:
            self.close()
            self._pool = self._open()
            return self._pool.submit(_train, config, deadline)

    def close(self) -> None:
        """Wait for the process to end."""
        self._pool.shutdown()

    def _open(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)


def _stopped(future: Future[Stopped | None]) -> Stopped | None:
    """Why a job has stopped; None where it is complete."""
    try:
        return future.result()
    except BrokenProcessPool:
        return Stopped(
            "its process was killed, most likely because memory ran out: give fewer workers; the same "
            "command continues from the last checkpoint",
            failed=True,
        )


@contextlib.contextmanager
def _sigterm_for_workers() -> Iterator[None]:
    """Pass SIGTERM to the workers: unlike Ctrl-C, SIGTERM reaches this process only."""

    def receive(number: int, frame: FrameType | None) -> None:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise Interrupted(signal.Signals(number).name, code=128 + number)

    previous = signal.signal(signal.SIGTERM, receive)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _take(waiting: list[Job]) -> Job | None:
    """Remove and return the first job that waits for no other run; None if there is none."""
    ready = next((job for job in waiting if not job.blocked), None)
    if ready is not None:
        waiting.remove(ready)
    return ready


def _train(config: Config, deadline: float | None) -> Stopped | None:
    # A worker process returns an interruption to the queue, and does not raise it.
    try:
        return attempt(config, deadline=deadline)
    except Interrupted as request:
        if orphaned():
            os._exit(request.code)
        return Stopped(str(request), failed=False)


def _label(job: Job) -> str:
    return f"{job.config.experiment_name}: {job.label}, seed {job.config.seed}"


def _late(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() > deadline
