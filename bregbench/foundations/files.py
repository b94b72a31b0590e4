"""Atomic writes: a reader sees the old file or the new file, never a part of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bregbench.foundations.errors import BenchError

if TYPE_CHECKING:
    import torch

#: Words in errors of torch and safetensors that mean that the system refuses to write.
_WRITERS = (
    "inline_container",
    "PytorchStreamWriter",
    "iostream error",
    "Parent directory",
    "I/O error",
)


def write_atomically(
    path: Path, write: Callable[[Path], object], *, make_folder: bool = True
) -> None:
    """Let `write` fill a temporary neighbour of `path`, then rename it into place.

    The content is on the disk before the file gets its name, so that a loss of power leaves no empty file.

    Args:
        path: the file.
        write: function that writes the file at the path that it gets.
        make_folder: whether the folder of the file is made. False raises an error if the folder is missing,
            because somebody has deleted it.

    Raises:
        BenchError: the system refuses to write, for instance because the disk is full; `path` does not
            change.
    """
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with reporting_writes(path):
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def reporting_writes(path: Path) -> Iterator[None]:
    """Turn errors of the system on writing a file into one line.

    Raises:
        BenchError: the block raises an `OSError`, or an error of torch or safetensors about writing.
    """
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    except Exception as error:
        if not any(word in str(error) for word in _WRITERS):
            raise
        raise _unwritable(path, str(error).splitlines()[0]) from error


def _unwritable(path: Path, reason: str) -> BenchError:
    return BenchError(
        f"{path} cannot be written ({reason}): make room or give another folder, then give the same command "
        "again; existing files have not changed"
    )


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, if its file system can."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove_leftovers(path: Path) -> None:
    """Delete temporary neighbours of a file that killed processes have left."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.([0-9]+)\.tmp")
    with contextlib.suppress(OSError):
        for other in path.parent.iterdir():
            found = pattern.fullmatch(other.name)
            if found is not None and not _is_alive(int(found[1])):
                other.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def write_text(path: Path, text: str, *, make_folder: bool = True) -> None:
    """Write a text file atomically."""
    write_atomically(
        path,
        lambda temporary: temporary.write_text(text, encoding="utf-8"),
        make_folder=make_folder,
    )


def write_json(path: Path, value: Any, *, make_folder: bool = True) -> None:
    """Write a JSON file atomically; keys keep their order and NaN is refused."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_text(path, text, make_folder=make_folder)


def write_tensors(path: Path, value: Any, *, make_folder: bool = True) -> None:
    """Write tensors, numbers and strings atomically with `torch.save`."""
    import torch  # late: commands that write no tensors start without it

    write_atomically(path, lambda temporary: torch.save(value, temporary), make_folder=make_folder)


def read_tensors(path: Path, device: torch.device | str = "cpu") -> Any:
    """Read a file of `write_tensors` without executing code from it.

    Raises:
        BenchError: the file was cut short, or its checksums show that a bit has changed.
    """
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} differs")
        return torch.load(path, map_location=device, weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = f"{_error_name(error)}: {str(error).partition(chr(10))[0]}"
        raise BenchError(
            f"{path} is damaged or was cut short ({reason}): delete {path.parent} to repeat the run, or "
            "put the file back"
        ) from error


def _error_name(error: Exception) -> str:
    return "ValueError" if isinstance(error, zipfile.BadZipFile) else type(error).__name__


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
