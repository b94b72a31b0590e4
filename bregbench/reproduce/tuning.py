"""Tuning the rows of a table: which trials are missing, and what the finished ones say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bregbench.figures.specs import load_table
from bregbench.foundations.errors import BenchError
from bregbench.reproduce.plan import Job, hours_left
from bregbench.reproduce.train import keep_records
from bregbench.runs.records import find_complete
from bregbench.runs.train import run_directory
from bregbench.runs.workplace import Workplace
from bregbench.schema.config import Config
from bregbench.storage.directory import RunDirectory
from bregbench.storage.locking import keeping
from bregbench.tables.cells import metric_of
from bregbench.tables.spec import Table
from bregbench.tables.tuning import Trial, read_trials, write_trials


def trial_jobs(table: Table, place: Workplace, rows: list[str] | None = None) -> list[Job]:
    """The runs that tune a table, in the order of its rows.

    Args:
        table: what the rows are.
        place: where finished runs are looked for, and where runs work.
        rows: only these; empty or None for all.

    Raises:
        BenchError: a row is not in the table, or has nothing to tune.
    """
    for row in rows or []:
        table.require_name(row, [r for r, known in table.rows.items() if known.tuning], "rows")
    return [
        Job(
            row,
            config,
            done := find_complete(config, place.records) is not None or diverged(config),
            0.0 if done else hours_left(config, table.rows[row].hours),
            part=f"trial {number + 1} of {len(table.rows[row].tuning)}",
            cuda=table.wants_cuda(table.tuning.part),
            bundle=table.bundle_of(row, config.seed, place),
        )
        for row, number, config in _trials(table, place)
        if not rows or row in rows
    ]


def untuned_jobs(table: Table, place: Workplace, rows: list[str] | None = None) -> list[Job]:
    """The trials of those rows of which none is chosen yet, as `trial_jobs`; `rows` may name others."""
    waiting = [row for row in rows or table.rows if row in table.rows]
    waiting = [row for row in waiting if table.chosen(row, place) is None]
    return trial_jobs(table, place, waiting) if waiting else []


def choose_tuned(names: Iterable[str], place: Workplace) -> None:
    """Let the finished trials of tables decide, where rows wait for them; other tables are left alone.

    Args:
        names: of tables, in any order.
        place: where finished runs are looked for, and `tuning` is written.
    """
    for name in dict.fromkeys(names):
        table = load_table(name)
        if any(job.done for job in untuned_jobs(table, place)):
            keep_trials(table, place)


def keep_trials(table: Table, place: Workplace) -> None:
    """Keep finished trials, and write what they say to `results/tuning`, which then decides over the rows.

    What the file says of other trials that the table still declares stays.

    Raises:
        BenchError: a run, its bundle or the file is damaged.
    """
    found: list[Trial] = []
    hashes: set[tuple[str, tuple[str, ...], str]] = set()
    keep_records(trial_jobs(table, place), place.records)
    for row, number, config in _trials(table, place):
        overrides = tuple(table.rows[row].tuning[number])
        hashes.add((row, overrides, config.run_name.hash))
        run = find_complete(config, place.records)
        if run is not None:
            found.append(_trial(table, row, overrides, run))
        elif diverged(config):
            found.append(_lost(row, overrides, config))
    path = table.trials_of(place)
    if not found and not path.is_file():
        return
    with keeping(path):
        # Of another command, or of runs that are not here; a trial under another hash was of another table.
        there = [t for t in read_trials(path).values() if (t.row, t.overrides, t.hash) in hashes]
        rows = {row: known.tuning for row, known in table.rows.items() if known.tuning}
        write_trials(path, rows, [*there, *found])


def diverged(config: Config) -> bool:
    """Whether a run has stopped because a metric was no longer finite: its settings are worth nothing."""
    run = run_directory(config)
    return run.state == "failed" and bool(run.read_status().get("diverged"))


def _lost(row: str, overrides: tuple[str, ...], config: Config) -> Trial:
    seconds = sum(epoch["seconds"] for epoch in run_directory(config).read_metrics())
    return Trial(row, overrides, 0.0, 1.0, seconds, config.run_name.hash, "diverged")


def _trials(table: Table, place: Workplace) -> Iterator[tuple[str, int, Config]]:
    for row, known in table.rows.items():
        for number in range(len(known.tuning)):
            yield row, number, table.trial_config(row, number, place)


def _trial(table: Table, row: str, overrides: tuple[str, ...], run: RunDirectory) -> Trial:
    summary = run.read_summary()

    def measured(metric: str) -> float:
        variant = table.rows[row].variant
        found = metric_of(run, metric, variant=variant, selection="last")
        if found is None:
            raise BenchError(
                f"{run.path} has not measured {metric} of {variant}, which tuning reads"
            )
        return found

    accuracy, density = measured("validation/accuracy"), measured("density/total")
    commit = str(summary["commit"])
    return Trial(row, overrides, accuracy, density, summary["seconds"], summary["hash"], commit)
