"""A run's directory: the only place where its file names are spelled, and the lock that guards it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import write_json, write_text

#: how long to try for a lock: `live` holds it for an instant, too
_LOCK_SECONDS = 1.0


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
        self.weights = self.path / "weights.pt"
        self.sparse_weights = self.path / "weights.safetensors"
        self.snapshots = self.path / "snapshots"
        self.traces = self.path / "traces.safetensors"
        self.lock = self.path / "lock"
        self.tracking = self.path / "tracking"

    def snapshot(self, epoch: int) -> Path:
        """Weights after an epoch, where they were asked for."""
        return self.snapshots / f"epoch{epoch:04d}.safetensors"

    @property
    def name(self) -> str:
        """Name and hash of the config, the same for all seeds."""
        return self.path.parent.name

    @property
    def complete(self) -> bool:
        """Whether the run has finished: its summary is the last thing that is written."""
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
        """State (`running`, `interrupted`, `failed`, `complete`), reason and position; may be empty."""
        if not self.status.is_file():
            return {}
        return _read_json(self.status)

    def write_status(self, state: str, **details: Any) -> None:
        """Note how the run stands, with the time and the process that says so."""
        write_json(
            self.status,
            {"state": state, "time": _now(), "host": socket.gethostname(), "pid": os.getpid()}
            | details,
        )

    def read_metrics(self) -> list[dict[str, Any]]:
        """One dictionary per finished epoch; a line torn by a kill is left out.

        Raises:
            BenchError: the file is damaged.
        """
        rows: list[dict[str, Any]] = []
        if not self.metrics.is_file():
            return rows
        for line in self.metrics.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            rows.append(_parse(line, self.metrics))
        return rows

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one epoch in a single write."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def keep_metrics(self, epochs: int) -> None:
        """Forget lines beyond `epochs`: they were written after the checkpoint that is resumed from."""
        rows = self.read_metrics()[:epochs]
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))

    @property
    def live(self) -> bool:
        """Whether a process is at work here."""
        if not self.lock.is_file():
            return False
        with self.lock.open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @property
    def state(self) -> str:
        """`complete`, `running`, `failed` or `interrupted`, whatever a killed process left behind."""
        if self.complete:
            return "complete"
        if self.live:
            return "running"
        return "failed" if self.read_status().get("state") == "failed" else "interrupted"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for one process.

        The lock is the kernel's, so it vanishes with its holder however that ends, and a file left by
        a killed process is simply taken over.

        Raises:
            BenchError: another process is at work here, or there can be no such folder.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BenchError(
                f"run directory {self.path} cannot be made ({error.filename}: {error.strerror}): "
                "give another runs_dir="
            ) from error
        with self.lock.open("a+", encoding="utf-8") as file:
            if not _lock(file):
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise BenchError(
                    f"run directory {self.path} is in use by {holder}: wait for that run, stop it, "
                    "or change seed= or experiment_name="
                )
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {_now()}")
            file.flush()
            yield


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return _parse(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(found, dict):
        raise _damaged(path, "no JSON object")
    return found


def _damaged(path: Path, reason: object) -> BenchError:
    return BenchError(
        f"{path} is damaged ({reason}): put it back, or delete {path.parent} and make that run again"
    )


def _lock(file: TextIO) -> bool:
    """Take the exclusive lock; False where another process keeps it."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
