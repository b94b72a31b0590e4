"""Locks between processes: locks of the kernel, and marker files on file systems without such locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, SoftFileLock, Timeout, UnixFileLock

from bregbench.foundations.console import say
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import reporting_writes

#: how long to wait for another command that adds to the same file
_KEEPING_SECONDS = 60.0
#: between two attempts to take a lock
_PAUSE_SECONDS = 0.02
#: Errors of `flock` on file systems without locks.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO}
_said = False


class InUse(BenchError):
    """Another process holds a lock, so that this process has to wait or to stop."""


@contextlib.contextmanager
def hold(path: Path, *, seconds: float, advice: str) -> Iterator[None]:
    """Hold a lock file for one process; the file stays and names its last holder.

    The kernel releases its lock when the holder ends in any way. On a file system without working locks,
    a marker file beside `path` takes the place of the lock; the marker of a killed process is taken over
    on the same machine.

    Args:
        path: the lock file.
        seconds: seconds to try.
        advice: message of the error, with `{holder}` in the place of the other process.

    Raises:
        InUse: another process holds the lock.
        OSError: the file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        if not _take(stack, path, seconds):
            raise InUse(advice.format(holder=_holder(path)))
        path.write_text(f"process {os.getpid()} on {socket.gethostname()} since {_now()}")
        yield


@contextlib.contextmanager
def keeping(path: Path) -> Iterator[None]:
    """Hold a file that several commands add to, while one reads it and writes it anew; others wait.

    Args:
        path: the file; its folder is made where there is none.

    Raises:
        InUse: another process does not come to an end.
        BenchError: there can be no such folder.
    """
    lock = path.with_name(f".{path.name}.keeping")
    named = str(path).replace("{", "{{").replace("}", "}}")
    advice = f"{named} is being written by {{holder}}: wait for that command, or stop it"
    with contextlib.ExitStack() as stack:
        with reporting_writes(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(lock, seconds=_KEEPING_SECONDS, advice=advice))
        try:
            yield
        finally:
            # While it is held: who waits for the lock of a file that is gone tries again.
            lock.unlink(missing_ok=True)


def is_held(path: Path) -> bool:
    """Whether a process holds a lock file; a held lock is not touched."""
    if _marker(path).exists():
        marker = SoftFileLock(_marker(path))
        try:
            with marker.acquire(blocking=False):
                return False
        except (Timeout, OSError):
            return True
    try:
        with path.open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _take(stack: contextlib.ExitStack, path: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    working = True
    try:
        if not _enter(stack, UnixFileLock(path, fallback_to_soft=False), deadline):
            return False
        working = _excludes(path)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        working = False
    if working and not _marker(path).exists():
        return True
    if not working:
        _say_once(path)
    return _enter(stack, SoftFileLock(_marker(path)), deadline)


def _enter(stack: contextlib.ExitStack, lock: BaseFileLock, deadline: float) -> bool:
    while True:
        try:
            stack.enter_context(lock.acquire(blocking=False))
        except Timeout:
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_SECONDS)
        else:
            return True


def _excludes(path: Path) -> bool:
    """Whether the held lock excludes other processes: on some network file systems it does not."""
    with path.open("r+", encoding="utf-8") as other:
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in _NO_LOCKS
    return False


def _say_once(path: Path) -> None:
    global _said
    if not _said:
        say(
            f"note: the file system of {path.parent} has no working locks (a network file system?): marker "
            f"files such as {_marker(path).name} keep a second process out"
        )
    _said = True


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.held")


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = path.read_text(encoding="utf-8").strip()
        if found and _marker(path).exists():
            return f"{found} (delete {_marker(path)} if that process is gone)"
        if found:
            return found
    return "another process"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
