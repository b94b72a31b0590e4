"""Finding runs and records on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bregbench.foundations.errors import BenchError
from bregbench.storage.bundles import BundledRun, bundled_at, bundled_below
from bregbench.storage.directory import RunDirectory

_HASHED = re.compile(r"([0-9a-f]{8})(?:/seed(\d+))?")


def find_run(path: str) -> RunDirectory:
    """The run directory, record or bundled run at a path, or the only one below it.

    Raises:
        BenchError: there is no run, or there are several.
    """
    directory = bundled_at(Path(path)) or RunDirectory(path)
    if isinstance(directory, BundledRun) or directory.config.is_file():
        return directory
    below = [*map(RunDirectory, sorted(_below(Path(path)))), *bundled_below(Path(path))]
    if len(below) == 1:
        return below[0]
    found = f"{len(below)} runs below it" if below else "no run there"
    raise BenchError(f"run={path}: {found}: give one run directory or record")


def find_named(text: str, folders: list[str]) -> RunDirectory:
    """The run at a path, or the one whose hash is given, as in `1f0e5a7b` or `1f0e5a7b/seed1`.

    Args:
        text: a path, or eight hexadecimal digits with or without a seed.
        folders: where runs with that hash are looked for; those that do not exist are left out.

    Raises:
        BenchError: none there, or several.
    """
    match = _HASHED.fullmatch(text)
    if match is None or Path(text).exists():
        return find_run(text)
    pattern = f"*-{match[1]}/seed{match[2] or '*'}"
    found = [path for folder in folders for path in _below(Path(folder)) if path.match(pattern)]
    if len(found) == 1:
        return RunDirectory(found[0])
    where = ", ".join(folders)
    if not found:
        raise BenchError(f"{text} is the hash of no run in {where}: give a path, or another hash")
    places = ", ".join(map(str, sorted(found)))
    raise BenchError(f"{text} is the hash of {len(found)} runs: give one of {places}")


@dataclass(frozen=True)
class SavedRun:
    """The content of one run directory.

    Attributes:
        path: the run directory.
        config: the config as plain values.
        rows: one dictionary per finished epoch.
        summary: the summary; None while the run is not complete.
    """

    path: Path
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    summary: dict[str, Any] | None

    @property
    def name(self) -> str:
        """Name and hash, the same for all seeds of a config."""
        return self.path.parent.name

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])

    @property
    def settings(self) -> dict[str, Any]:
        """The config as one value a key, such as `method.lam`."""
        return dict(_leaves(self.config, ""))


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The values of nested dictionaries with their keys; an empty dictionary is a value."""
    if not isinstance(value, dict) or not value:
        yield key, value
        return
    for name, item in value.items():
        yield from _leaves(item, f"{key}.{name}" if key else str(name))


def read_run(directory: RunDirectory) -> SavedRun:
    """Read one run."""
    return SavedRun(
        path=directory.path,
        config=directory.read_config(),
        rows=directory.read_metrics(),
        summary=directory.read_summary() if directory.complete else None,
    )


def find_runs(folders: list[str]) -> list[SavedRun]:
    """The content of all runs at or below the given folders, in the order of their paths.

    Raises:
        BenchError: a folder does not exist, or there is no run in any of them.
    """
    return [read_run(directory) for directory in find_run_directories(folders)]


def find_run_directories(folders: list[str]) -> list[RunDirectory]:
    """All run directories, records and bundled runs at or below the given folders.

    Raises:
        BenchError: a folder does not exist, or there is no run in any of them.
    """
    paths: set[Path] = set()
    bundled: dict[Path, RunDirectory] = {}
    for folder in folders:
        if not Path(folder).is_dir():
            raise BenchError(f"runs={folder} is not a folder: give a run directory or one above it")
        paths |= _below(Path(folder))
        bundled |= {run.path: run for run in bundled_below(Path(folder))}
    if not paths and not bundled:
        raise BenchError(f"no runs in {', '.join(folders)}: train one with bregbench train first")
    return [*map(RunDirectory, sorted(paths)), *bundled.values()]


def _below(folder: Path) -> set[Path]:
    """Folders with a config, without hidden folders, in which commands put records together."""
    found = (config.parent for config in folder.rglob(RunDirectory(folder).config.name))
    return {
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
