"""The kinds of faults: each does one to a run, and says in one word what came of it."""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from bregbench.evaluators import Density
from bregbench.faults.children import Child, End
from bregbench.faults.subjects import moved, same
from bregbench.foundations.errors import BenchError
from bregbench.runs.agreement import refuse_disagreement
from bregbench.runs.evaluate import evaluate_run
from bregbench.runs.records import export_record, record_of
from bregbench.runs.train import run_directory, train
from bregbench.schema.config import Config
from bregbench.storage.directory import RunDirectory

#: what may come of a fault; all others are silent faults or bugs
GOOD = ("exact", "refused", "kept")


class Subject:
    """A run that was left alone, and a place for copies of it that are not.

    Args:
        config: the run.
        folder: for everything that the campaign writes.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self.folder = folder
        self.config = config
        # In this process: what it imports now, the processes forked from it need not.
        train(config)
        self.whole = run_directory(config)
        begun = time.monotonic()
        end = self.child(self.copy()).end()
        self.seconds = time.monotonic() - begun
        if not end.fine:
            raise BenchError(f"a run that was left alone did not end: {end.refusal}{end.bug}")

    def copy(self) -> Config:
        """The same run, to be begun elsewhere."""
        return moved(self.config, self.folder / "faulty")

    def begun(self, draw: random.Random) -> Config:
        """The same run, killed somewhere after it has begun."""
        config = self.copy()
        child = self.child(config)
        child.kill_after(self.seconds * draw.uniform(0.3, 0.95))
        child.end()
        return config

    def child(self, config: Config, number: int = 0) -> Child:
        """A process that trains it."""
        return Child(lambda: train(config), self.folder / f"said{number}")

    def judge(self, config: Config, end: End, *, was_complete: bool = False) -> str:
        """What came of a fault, after a run was asked to end that may have been complete before."""
        if end.bug:
            return f"traceback: {end.bug.strip().splitlines()[-1]}"
        run = run_directory(config)
        if end.refusal:
            return (
                "refused" if was_complete or not run.complete else "refused, but it looks complete"
            )
        if not run.complete:
            return "ended without being complete"
        try:
            refuse_disagreement(run, config.run_name, asked=config)
            return same(config, self.whole) or "exact"
        except BenchError as error:
            # Of a run that was finished before, this is what every table says that shows it.
            return "refused" if was_complete else f"complete, but {error}"


def kill(subject: Subject, draw: random.Random) -> str:
    """A run is killed up to three times, at random, and ended by the same command."""
    config = subject.begun(draw)
    for _ in range(draw.randrange(3)):
        child = subject.child(config)
        child.kill_after(subject.seconds * draw.uniform(0, 0.6))
        child.end()
    return subject.judge(config, subject.child(config).end())


def _delete(path: Path, draw: random.Random) -> None:
    path.unlink()


def _truncate(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(max(len(content), 1))])


def _flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


Damage = Callable[[Path, random.Random], None]


def between(damage: Damage) -> Callable[[Subject, random.Random], str]:
    """Damage a file of a run that was killed, before the same command goes on."""

    def fault(subject: Subject, draw: random.Random) -> str:
        config = subject.begun(draw)
        run = run_directory(config)
        path, was_complete = _some_file(run, draw), run.complete
        if path is not None:
            damage(path, draw)
        return subject.judge(config, subject.child(config).end(), was_complete=was_complete)

    return fault


def meanwhile(damage: Damage) -> Callable[[Subject, random.Random], str]:
    """Damage a file of a run while it trains."""

    def fault(subject: Subject, draw: random.Random) -> str:
        config = subject.copy()
        child = subject.child(config)
        time.sleep(subject.seconds * draw.uniform(0.3, 0.9))
        run = run_directory(config)
        path, was_complete = _some_file(run, draw), run.complete
        # A file may be renamed, or not yet there.
        with contextlib.suppress(FileNotFoundError):
            if path is not None:
                damage(path, draw)
        was_complete, end = was_complete or run.complete, child.end()
        if was_complete:
            # The fault came after the end: what does the same command say of a finished run?
            end = subject.child(config).end()
        return subject.judge(config, end, was_complete=was_complete)

    return fault


def directory_gone(subject: Subject, draw: random.Random) -> str:
    """The whole run directory is deleted while the run trains."""
    config = subject.copy()
    child = subject.child(config)
    time.sleep(subject.seconds * draw.uniform(0.3, 0.9))
    run = run_directory(config)
    shutil.rmtree(run.path, ignore_errors=True)
    end = child.end()
    if end.fine and not run.path.exists():
        return "exact"  # It had ended before.
    return subject.judge(config, end)


def two_writers(subject: Subject, draw: random.Random) -> str:
    """Two commands train one run: one of them does, the other refuses or finds it complete."""
    config = subject.copy()
    children = [subject.child(config, number) for number in range(2)]
    ends = [child.end() for child in children]
    if not any(end.fine for end in ends):
        return "neither has trained"
    strange = [e for e in ends if e.bug or (e.refusal and "in use by process" not in e.refusal)]
    return subject.judge(config, strange[0] if strange else End())


def two_keepers(subject: Subject, draw: random.Random) -> str:
    """Three commands keep the record of one run."""
    records = subject.folder / "records"
    shutil.rmtree(records, ignore_errors=True)
    record = record_of(subject.config, records)

    def keep() -> None:
        export_record(subject.whole, record, replace=draw.random() < 0.5)

    children = [Child(keep, subject.folder / f"said{number}") for number in range(3)]
    ends = [child.end() for child in children]
    for end in ends:
        if not end.fine:
            return end.refusal or f"traceback: {end.bug.strip().splitlines()[-1]}"
    refuse_disagreement(record, subject.config.run_name)
    left = [path.name for path in record.path.parent.iterdir()]
    return "kept" if left == [record.path.name] else f"left {sorted(left)}"


def two_evaluations(subject: Subject, draw: random.Random) -> str:
    """Two commands measure one run: its summary has both."""
    config = subject.copy()
    run = run_directory(config)
    shutil.copytree(subject.whole.path, run.path)

    def measure() -> None:
        evaluate_run(run, config, [Density()], selection="last")

    children = [Child(measure, subject.folder / f"said{number}") for number in range(2)]
    for end in [child.end() for child in children]:
        if not end.fine:
            return end.refusal or f"traceback: {end.bug.strip().splitlines()[-1]}"
    return "kept" if len(run.read_summary()["evaluated"]) == 2 else "one evaluation is lost"


def _some_file(run: RunDirectory, draw: random.Random) -> Path | None:
    """A file that the run has written, its lock and temporary files apart."""
    found = sorted(p for p in run.path.rglob("[!.]*") if p.is_file() and p != run.lock)
    return draw.choice(found) if found else None


FAULTS: dict[str, Callable[[Subject, random.Random], str]] = {
    "killed at random, up to three times": kill,
    "file deleted between two commands": between(_delete),
    "file cut short between two commands": between(_truncate),
    "one bit flipped between two commands": between(_flip),
    "file deleted while training": meanwhile(_delete),
    "file cut short while training": meanwhile(_truncate),
    "run directory deleted while training": directory_gone,
    "two commands train one run": two_writers,
    "three commands keep one record": two_keepers,
    "two commands evaluate one run": two_evaluations,
}
