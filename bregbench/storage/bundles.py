"""Bundles: the many small runs of one row of a table in one compressed file, a line of JSON a run.

A line holds what a record holds but weights: config, summary, penalties and the metrics of a few epochs, with
a digest of all of it. Equal content is equal bytes. A bundle is replaced as a whole, so that a killed writer
leaves the old one.
"""

from __future__ import annotations

import copy
import functools
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import (
    digest_file,
    write_atomically,
    write_json,
    write_text,
)
from bregbench.storage.directory import RunDirectory
from bregbench.storage.layout import RunName
from bregbench.storage.locking import keeping

#: how names of bundles end
ENDING = ".jsonl.gz"
#: epochs of which a bundle keeps the metrics, beside the best one
_KEPT_EPOCHS = 6
_PARTS = {"run": str, "config": dict, "summary": dict, "penalties": str, "metrics": list}

#: what a bundle holds of one run; keys as in `_PARTS`
Line = dict[str, Any]


class BundledRun(RunDirectory):
    """A finished run in a bundle, which reads as a record does; its path is that of no file.

    Args:
        bundle: the file.
        name: the address of the run.
        line: what the bundle holds of it.
    """

    def __init__(self, bundle: Path, name: RunName, line: Line) -> None:
        super().__init__(bundle / name.path)
        self.line = line

    @property
    def complete(self) -> bool:
        """Only finished runs are in bundles."""
        return True

    @property
    def live(self) -> bool:
        """Nobody works in a bundle."""
        return False

    def read_summary(self) -> dict[str, Any]:
        """See `RunDirectory.read_summary`."""
        return copy.deepcopy(self.line["summary"])

    def read_config(self) -> dict[str, Any]:
        """See `RunDirectory.read_config`."""
        return copy.deepcopy(self.line["config"])

    def read_status(self) -> dict[str, Any]:
        """Complete; who worked on it is not kept."""
        return {"state": "complete"}

    def read_metrics(self) -> list[dict[str, Any]]:
        """The epochs that are kept; `thinned` of the summary lists them."""
        return copy.deepcopy(self.line["metrics"])

    def pull(self, folder: Path) -> RunDirectory:
        """Write the run as an ordinary record, without weights.

        Args:
            folder: where its files go.
        """
        record = RunDirectory(folder)
        write_json(record.config, self.line["config"])
        write_text(record.penalties, self.line["penalties"])
        rows = "".join(json.dumps(row) + "\n" for row in self.line["metrics"])
        write_text(record.metrics, rows)
        files = {path.name: digest_file(path) for path in (record.metrics, record.penalties)}
        write_json(record.summary, self.read_summary() | {"files": files})
        return record


def bundle_path(bundles: Path, table: str, row: str) -> Path:
    """Where the runs of a row lie: `<bundles>/<table>/<row>.jsonl.gz`, the row in plain letters.

    Args:
        bundles: folder of all bundles.
        table: the experiment of the table.
        row: its label; rows with equal letters share a file.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", row.lower()).strip("-")
    return bundles / table / f"{slug or 'row'}{ENDING}"


def line_of(run: RunDirectory, config: dict[str, Any]) -> Line:
    """What a bundle keeps of a finished run.

    Args:
        run: the run directory, record or bundled run.
        config: its config as plain values, without folders of the machine.
    """
    summary = run.read_summary()
    address = (summary[key] for key in ("experiment_name", "name", "hash", "seed"))
    metrics = thinned(run.read_metrics(), best=summary["best"]["epoch"])
    # Files that are not here need no digests; the line has its own.
    summary.pop("files", None)
    summary["thinned"] = [row["epoch"] for row in metrics]
    penalties = run.penalties.read_text(encoding="utf-8") if run.penalties.is_file() else ""
    if isinstance(run, BundledRun):
        penalties = run.line["penalties"]
    parts = (str(RunName(*address)), config, summary, penalties, metrics)
    return dict(zip(_PARTS, parts, strict=True))


def thinned(rows: list[dict[str, Any]], *, best: int) -> list[dict[str, Any]]:
    """The first, the last and the best epoch, and some between."""
    count = len(rows)
    kept = {1, best, *(round(count * part / _KEPT_EPOCHS) for part in range(1, _KEPT_EPOCHS + 1))}
    return [row for row in rows if row["epoch"] in kept]


def read_bundle(path: Path) -> Mapping[RunName, BundledRun]:
    """The runs of a bundle by their addresses; none where there is no such file.

    Raises:
        BenchError: the file is damaged, or a line of it; names the file and the run.
    """
    try:
        found = path.stat()
    except OSError:
        return {}
    return _read(path, found.st_mtime_ns, found.st_size, found.st_ino)


def find_bundled(bundles: Path, name: RunName) -> BundledRun | None:
    """A run by its address, in whichever bundle of its experiment.

    Raises:
        BenchError: a bundle is damaged.
    """
    for path in bundles_in(bundles / name.experiment):
        found = read_bundle(path).get(name)
        if found is not None:
            return found
    return None


def bundles_in(folder: Path) -> list[Path]:
    """The bundles in a folder, in the order of their names."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _is_bundle(path.name))


def bundled_below(folder: Path) -> list[BundledRun]:
    """All runs of all bundles at or below a folder, in the order of files and addresses."""
    paths = sorted(path for path in folder.rglob(f"*{ENDING}") if _is_bundle(path.name))
    return [run for path in paths for run in read_bundle(path).values()]


def bundled_at(path: Path) -> BundledRun | None:
    """The run that a path names, `BUNDLE.jsonl.gz/EXPERIMENT/NAME-HASH/seed<k>`; None for other paths."""
    for above in path.parents:
        if _is_bundle(above.name) and above.is_file():
            return read_bundle(above).get(RunName.parse(path.relative_to(above)))
    return None


def add_to_bundle(
    path: Path,
    lines: Iterable[Line],
    *,
    join: Callable[[BundledRun, Line], Line | None] | None = None,
) -> int:
    """Add runs to a bundle; those that are there already stay as they are.

    Args:
        path: the bundle; made where there is none.
        lines: what `line_of` gives.
        join: what becomes of a run that is there; None for both: it stays.

    Returns:
        How many runs are new.

    Raises:
        InUse: another process does not come to an end with it.
        BenchError: the bundle is damaged, or cannot be written; it is as it was.
    """
    with keeping(path):
        old = {str(name): run for name, run in read_bundle(path).items()}
        kept = {run: found.line for run, found in old.items()}
        for line in lines:
            there = old.get(line["run"])
            wanted = line if there is None else join and join(there, line)
            kept[line["run"]] = wanted or kept[line["run"]]
        if kept != {run: found.line for run, found in old.items()}:
            content = pack_lines(kept.values())
            write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return len(kept) - len(old)


def pack_lines(lines: Iterable[Line]) -> bytes:
    """The bytes of a bundle: sorted by address, no time and no name in the head of the archive."""
    ordered = sorted(lines, key=lambda line: line["run"])
    texts = [_dumps(line | {"digest": _digest(line)}) for line in ordered]
    return gzip.compress("".join(f"{text}\n" for text in texts).encode(), 9, mtime=0)


@functools.lru_cache(maxsize=256)
def _read(path: Path, *state: int) -> Mapping[RunName, BundledRun]:
    """What a file holds; `state` tells when it has changed."""
    try:
        text = gzip.decompress(path.read_bytes()).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise BenchError(
            f"{path} is damaged ({error}): put it back, or delete it and keep its runs again"
        ) from error
    found: dict[RunName, BundledRun] = {}
    for number, content in enumerate(text.splitlines(), 1):
        line = _parse(content, path, number)
        name = RunName.parse(line["run"])
        if name in found:
            raise _damaged(path, line["run"], "stands there twice")
        found[name] = BundledRun(path, name, line)
    return found


def _parse(content: str, path: Path, number: int) -> Line:
    try:
        line = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"line {number}", str(error)) from error
    run = line.get("run", f"line {number}") if isinstance(line, dict) else f"line {number}"
    if not isinstance(line, dict) or line.pop("digest", None) != _digest(line):
        raise _damaged(path, run, "its digest differs")
    if {key: type(value) for key, value in line.items()} != _PARTS:
        raise _damaged(path, run, f"it does not have {', '.join(_PARTS)}")
    return line


def _damaged(path: Path, run: str, reason: str) -> BenchError:
    return BenchError(
        f"{path}: {run} is damaged ({reason}): put the file back, or delete it and keep its runs again"
    )


def _digest(line: Line) -> str:
    return hashlib.sha256(_dumps(line).encode()).hexdigest()


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _is_bundle(name: str) -> bool:
    return name.endswith(ENDING) and not name.startswith(".")
