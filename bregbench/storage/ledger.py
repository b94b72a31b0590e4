"""The ledger of a run: digests of its files, by which lost or damaged files are found."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import digest_file, sync_folder, write_atomically
from bregbench.storage.directory import RunDirectory


class Ledger:
    """Sizes and digests of the files of one run, which its checkpoint contains.

    Args:
        directory: the run directory, locked by this process.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._kept: dict[str, tuple[int, str]] = {}
        self._metrics_bytes = 0
        self._metrics_digest = hashlib.sha256()

    def add(self, path: Path, *, written_as: Path | None = None) -> None:
        """Note size and digest of a file.

        Args:
            path: path of the file after the next checkpoint.
            written_as: path of the file until the next checkpoint; None for `path` itself.

        Raises:
            BenchError: the file does not exist.
        """
        found = written_as or path
        try:
            self._kept[self._key(path)] = found.stat().st_size, digest_file(found)
        except FileNotFoundError as error:
            raise self._lost(found) from error

    def drop(self, path: Path) -> None:
        """Remove a file, which the run no longer needs, from the ledger."""
        self._kept.pop(self._key(path), None)

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Append one epoch to the metrics, and note it.

        Raises:
            BenchError: a file of the run, such as the metrics of earlier epochs, is gone or has changed.
        """
        self.refuse_lost()
        line = self._directory.append_metrics(row)
        self._metrics_bytes += len(line)
        self._metrics_digest.update(line)

    def refuse_lost(self) -> None:
        """Raise an error if a file is missing or has another size; cheap enough for every epoch.

        Raises:
            BenchError: a file was lost; the message names the file and the remedy.
        """
        self._directory.refuse_gone()
        for key, (size, _) in self._kept.items():
            path = self._directory.path / key
            if not path.is_file() or path.stat().st_size != size:
                raise self._lost(path)
        metrics = self._directory.metrics
        if _size(metrics) != self._metrics_bytes:
            raise self._lost(metrics)

    def refuse_damaged(self) -> None:
        """Raise an error if a file is missing or has another digest.

        Raises:
            BenchError: a file was lost or damaged; the message names the file and the remedy.
        """
        self.refuse_lost()
        for key, (_, digest) in self._kept.items():
            if digest_file(self._directory.path / key) != digest:
                raise self._lost(self._directory.path / key)
        if digest_file(self._directory.metrics) != self._metrics_digest.hexdigest():
            raise self._lost(self._directory.metrics)

    def sync(self) -> None:
        """Flush the names of the files to the disk, before a checkpoint that relies on them."""
        sync_folder(self._directory.path)
        if self._directory.snapshots.is_dir():
            sync_folder(self._directory.snapshots)

    def state_dict(self) -> dict[str, Any]:
        """Sizes and digests, for a checkpoint."""
        return {
            "kept": {key: list(entry) for key, entry in self._kept.items()},
            "metrics": [self._metrics_bytes, self._metrics_digest.hexdigest()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint; lines of metrics and weights written after it are dropped.

        Raises:
            BenchError: a file that the checkpoint relies on is gone, cut short or damaged.
        """
        directory = self._directory
        self._kept = {key: (size, digest) for key, (size, digest) in state["kept"].items()}
        self._take_next_best()
        self._metrics_bytes, digest = state["metrics"]
        content = directory.metrics.read_bytes() if directory.metrics.is_file() else b""
        content = content[: self._metrics_bytes]
        self._metrics_digest = hashlib.sha256(content)
        if self._metrics_digest.hexdigest() != digest:
            raise self._lost(directory.metrics)
        write_atomically(
            directory.metrics, lambda temporary: temporary.write_bytes(content), make_folder=False
        )
        self.refuse_damaged()

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file, by its path in the run directory, for the summary."""
        kept = {key: digest for key, (_, digest) in self._kept.items()}
        kept[self._key(self._directory.metrics)] = self._metrics_digest.hexdigest()
        return dict(sorted(kept.items()))

    def begin(self) -> None:
        """Note the present lines of metrics, for a run whose checkpoint has no ledger."""
        metrics = self._directory.metrics
        content = metrics.read_bytes() if metrics.is_file() else b""
        self._metrics_bytes, self._metrics_digest = len(content), hashlib.sha256(content)

    def keep_next_best(self) -> None:
        """Replace the former best weights by the new ones, after a checkpoint with their digest."""
        if self._directory.next_best.is_file():
            self._directory.next_best.replace(self._directory.best)

    def _take_next_best(self) -> None:
        """After a kill, keep those best weights, the former or the new, whose digest the checkpoint has."""
        waiting = self._directory.next_best
        entry = self._kept.get(self._key(self._directory.best))
        if waiting.is_file() and entry is not None and digest_file(waiting) == entry[1]:
            waiting.replace(self._directory.best)
        waiting.unlink(missing_ok=True)

    def _key(self, path: Path) -> str:
        return path.relative_to(self._directory.path).as_posix()

    def _lost(self, path: Path) -> BenchError:
        return BenchError(
            f"{path} was deleted, cut short or damaged since this run wrote it: put the file back, or "
            f"delete {self._directory.path} and give the same command again to start from the beginning"
        )


def refuse_damaged_files(run: RunDirectory, *, lacking: bool) -> None:
    """Raise an error if files of a finished run or record differ from the digests in its summary.

    Args:
        run: the run or record; summaries of older runs have no digests, and nothing is checked.
        lacking: whether files may be missing, as in records, which keep small files only.

    Raises:
        BenchError: a file was lost or damaged; the message names the file and the remedy.
    """
    for key, digest in run.read_summary().get("files", {}).items():
        path = run.path / key
        if lacking and not path.is_file():
            continue
        # The config of a record names no folders, so its digest differs. Its hash is compared elsewhere.
        known = path == run.config or (path.is_file() and digest_file(path) == digest)
        if not (path.is_file() and known):
            raise BenchError(
                f"{path} was deleted, cut short or damaged since this run wrote it: put the file back, or "
                f"delete {run.path} and repeat the run"
            )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
