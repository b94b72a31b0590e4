"""A run's directory: the only place where its file names are spelled, and the lock that guards it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import reporting_writes, write_json, write_text
from bregbench.storage.locking import hold, is_held

#: Seconds to try for the lock of a run. The property `live` of another process may hold it for an instant.
_LOCK_SECONDS = 1.0
#: Seconds to wait for another command that writes the same summary or the same record.
_KEEPING_SECONDS = 60.0
#: Prefix of the names of temporary folders in which records are put together.
UNFINISHED = ".record-"


class RunDirectory:
    """`<runs_dir>/<experiment_name>/<name>-<hash8>/seed<k>/` and what lies in it."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.status = self.path / "status.json"
        self.penalties = self.path / "penalties.txt"
        self.metrics = self.path / "metrics.jsonl"
        self.summary = self.path / "summary.json"
        self.checkpoint = self.path / "checkpoint.pt"
        self.best = self.path / "best.pt"
        self.next_best = self.path / "next_best.pt"
        self.weights = self.path / "weights.pt"
        self.sparse_weights = self.path / "weights.safetensors"
        self.snapshots = self.path / "snapshots"
        self.traces = self.path / "traces.safetensors"
        self.lock = self.path / "lock"
        self.tracking = self.path / "tracking"
        self._lock_id: tuple[int, int] | None = None

    def snapshot(self, epoch: int) -> Path:
        """Path of the weights after an epoch of `trainer.snapshots`."""
        return self.snapshots / f"epoch{epoch:04d}.safetensors"

    @property
    def name(self) -> str:
        """Name and hash of the config, the same for all seeds."""
        return self.path.parent.name

    @property
    def complete(self) -> bool:
        """Whether the run has finished: the summary is written last."""
        return self.summary.is_file()

    def read_summary(self) -> dict[str, Any]:
        """The summary of a finished run.

        Raises:
            BenchError: the file is damaged.
        """
        return _read_json(self.summary)

    def read_config(self) -> dict[str, Any]:
        """The config that the run was started with, as plain values.

        Raises:
            BenchError: the file is damaged.
        """
        return _read_json(self.config)

    def read_status(self) -> dict[str, Any]:
        """State (`running`, `interrupted`, `failed`, `complete`), reason and position; empty without a file.

        Raises:
            BenchError: the file is damaged.
        """
        if not self.status.is_file():
            return {}
        return _read_json(self.status)

    def write_status(self, state: str, **details: Any) -> None:
        """Write the state of the run, with details, time, host and process.

        Raises:
            BenchError: the directory was deleted, or cannot be written to.
        """
        self.refuse_gone()
        write_json(
            self.status,
            {"state": state, "time": _now(), "host": socket.gethostname(), "pid": os.getpid()}
            | details,
            make_folder=False,
        )

    def read_metrics(self) -> list[dict[str, Any]]:
        """One dictionary per finished epoch; an incomplete last line is left out.

        Raises:
            BenchError: the file is damaged.
        """
        if not self.metrics.is_file():
            return []
        *lines, _ = _read(self.metrics).split("\n")
        return [_parse(line, self.metrics) for line in lines]

    def append_metrics(self, row: dict[str, Any]) -> bytes:
        """Append one epoch in a single write, flush it to the disk, and return the written line."""
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        with reporting_writes(self.metrics), self.metrics.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        return line

    def keep_metrics(self, epochs: int) -> None:
        """Delete lines beyond `epochs`, which were written after the checkpoint of a resumed run."""
        rows = self.read_metrics()[:epochs] if epochs else []
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_text(self.metrics, text, make_folder=False)

    def make_snapshots(self) -> None:
        """Make the folder of snapshots."""
        with reporting_writes(self.snapshots):
            self.snapshots.mkdir(exist_ok=True)

    def remove_results(self) -> None:
        """Delete the results of an earlier process, except the config, before a run begins."""
        self.keep_metrics(0)
        for path in (self.best, self.next_best, self.weights, self.traces):
            path.unlink(missing_ok=True)
        _remove(self.snapshots.glob("*"))

    @property
    def live(self) -> bool:
        """Whether a process holds the lock of this directory."""
        return is_held(self.lock)

    @property
    def state(self) -> str:
        """`complete`, `running`, `failed` or `interrupted`; a killed run counts as interrupted."""
        if self.complete:
            return "complete"
        if self.live:
            return "running"
        return "failed" if self.read_status().get("state") == "failed" else "interrupted"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the directory for one process.

        The kernel releases the lock when its holder ends in any way, so the lock file of a killed process
        does not block. Temporary files that killed processes have left in the directory are deleted.

        Raises:
            InUse: another process holds the lock.
            BenchError: the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BenchError(
                f"run directory {self.path} cannot be made ({error.filename}: {error.strerror}): "
                "give another runs_dir="
            ) from error
        advice = (
            f"run directory {_braced(self.path)} is in use by {{holder}}: wait for that run, stop it, "
            "or change seed= or experiment_name="
        )
        with self._held(self.lock, _LOCK_SECONDS, advice):
            self._lock_id = _identity(self.lock)
            try:
                _remove(self.path.glob(".*.tmp"), self.snapshots.glob(".*.tmp"))
                yield
            finally:
                self._lock_id = None

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """Hold the place of this run or record while a command writes it or adds to it.

        Other commands wait. Temporary files and folders that killed commands have left are deleted.

        Raises:
            InUse: another process holds the place for longer than a minute.
            BenchError: the folder cannot be made.
        """
        lock = self.path.parent / ".keeping"
        advice = f"{_braced(self.path)} is being written by {{holder}}: wait for that command, or stop it"
        with reporting_writes(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._held(lock, _KEEPING_SECONDS, advice):
            _remove(self.path.glob(".*.tmp"), self.path.parent.glob(f"{UNFINISHED}*"))
            try:
                yield
            finally:
                # Delete the file while the lock is held: a waiting process then tries again.
                lock.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _held(self, lock: Path, seconds: float, advice: str) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            with reporting_writes(lock):
                stack.enter_context(hold(lock, seconds=seconds, advice=advice))
            yield

    def refuse_gone(self) -> None:
        """Raise an error if the directory is not the one that was locked.

        Raises:
            BenchError: the directory or its lock was deleted or replaced, so that another process may be
                writing in its place.
        """
        gone = (
            not self.path.is_dir()
            if self._lock_id is None
            else _identity(self.lock) != self._lock_id
        )
        if gone:
            raise BenchError(
                f"run directory {self.path} or its lock was deleted while the run was at work, so that its "
                "files are incomplete: delete the run directory and give the same command again"
            )


def _read_json(path: Path) -> dict[str, Any]:
    return _parse(_read(path), path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(found, dict):
        raise _damaged(path, "no JSON object")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _damaged(path: Path, reason: object) -> BenchError:
    return BenchError(
        f"{path} is damaged ({reason}): put the file back, or delete {path.parent} and repeat the run"
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _remove(*found: Iterator[Path]) -> None:
    for path in [path for paths in found for path in paths]:
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _braced(path: Path) -> str:
    """A path with its braces doubled, for `str.format`."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
