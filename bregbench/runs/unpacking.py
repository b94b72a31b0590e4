"""Reading archives of records from untrusted sources, without extracting them by `tarfile`."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bregbench.foundations.errors import BenchError
from bregbench.runs.records import LARGEST_FILE
from bregbench.storage.directory import RunDirectory

#: largest size in bytes of each file of a record, far above sizes that occur
_LARGEST = {
    "config.json": 2**20,
    "summary.json": 2**22,
    "metrics.jsonl": 2**26,
    "penalties.txt": 2**20,
    "weights.safetensors": LARGEST_FILE,
    "traces.safetensors": LARGEST_FILE,
}
#: files that every record has
NEEDED = ("config.json", "summary.json", "metrics.jsonl", "penalties.txt")
_SNAPSHOTS = RunDirectory("").snapshots.name
#: largest number of members of an archive, and of bytes that it unpacks to
_MOST_MEMBERS, _MOST_BYTES = 50_000, 2**31


def unpack(archive: Path, folder: Path) -> list[RunDirectory]:
    """Copy the records of an archive into numbered folders.

    Only regular files with the names of a record's files are read, each up to a largest size. Folder names of
    the archive are not used, because they may point outside `folder`.

    Args:
        archive: a file that `bregbench.runs.archive.pack` wrote; its content is not trusted.
        folder: an empty folder.

    Raises:
        BenchError: the archive cannot be read, or holds other members than the files of records.
    """
    records: dict[PurePosixPath, RunDirectory] = {}
    seen: set[PurePosixPath] = set()
    try:
        with gzip.open(archive, "rb") as stream:
            for member, content in _members(_Limited(stream), archive):
                place, name = _place(PurePosixPath(member))
                if place / name in seen:
                    raise BenchError(
                        f"archive={archive} holds {member} twice: pack the records again"
                    )
                seen.add(place / name)
                record = records.setdefault(place, RunDirectory(folder / str(len(records))))
                target = record.path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
    except (OSError, tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise BenchError(f"archive={archive} cannot be read: {error}") from error
    if not records:
        raise BenchError(f"archive={archive} holds no records")
    for place, record in records.items():
        missing = [name for name in NEEDED if not (record.path / name).is_file()]
        if missing:
            raise BenchError(
                f"archive={archive}: record {place} has no {', '.join(missing)}: pack it again"
            )
    return list(records.values())


def _members(stream: _Limited, archive: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the regular files."""
    # The type stubs ask for a whole binary file; tarfile needs no more than this raw stream has.
    with tarfile.open(fileobj=stream, mode="r:") as packed:  # type: ignore[call-overload]
        for number, member in enumerate(packed, start=1):
            if number > _MOST_MEMBERS:
                raise BenchError(f"archive={archive} has more than {_MOST_MEMBERS} members")
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise BenchError(
                    f"archive={archive}: {_shown(member.name)} is a link or no regular file, which no record "
                    "has: nothing was merged"
                )
            largest = _largest(PurePosixPath(member.name))
            if largest is None:
                raise BenchError(
                    f"archive={archive}: {_shown(member.name)} is no file of a record: nothing was merged"
                )
            if member.size > largest:
                raise BenchError(
                    f"archive={archive}: {_shown(member.name)} has {member.size} bytes, and {largest} are "
                    "allowed: nothing was merged"
                )
            content = packed.extractfile(member)
            assert content is not None
            yield member.name, content.read()


def _largest(name: PurePosixPath) -> int | None:
    """How many bytes a file of a record may have; None for other files."""
    if name.parent.name == _SNAPSHOTS:
        number = name.stem.removeprefix("epoch")
        known = number.isascii() and number.isdigit() and len(number) <= 9
        return (
            LARGEST_FILE if known and name == name.with_name(f"epoch{number}.safetensors") else None
        )
    return _LARGEST.get(name.name)


def _place(name: PurePosixPath) -> tuple[PurePosixPath, PurePosixPath]:
    """The folder of a file's record in the archive, and the path of the file in its record."""
    parts = 2 if name.parent.name == _SNAPSHOTS else 1
    return PurePosixPath(*name.parts[:-parts]), PurePosixPath(*name.parts[-parts:])


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 80 else f"{name[:77]}...")


class _Limited(io.RawIOBase):
    """A stream that raises ValueError if more bytes are read than records can have.

    The header of a malicious archive may declare a member of any size, and a small file may unpack to any
    size.
    """

    def __init__(self, stream: gzip.GzipFile) -> None:
        super().__init__()
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= max(_LARGEST.values()) + tarfile.BLOCKSIZE:
            raise ValueError(f"it asks for {size} bytes at once")
        return self._checked(self._stream.read(size))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == 0 and offset > _MOST_BYTES:
            raise ValueError(f"it unpacks to more than {_MOST_BYTES} bytes")
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _checked(self, found: bytes) -> bytes:
        if self.tell() > _MOST_BYTES:
            raise ValueError(f"it unpacks to more than {_MOST_BYTES} bytes")
        return found
