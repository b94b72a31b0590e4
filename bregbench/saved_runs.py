"""Finding finished and unfinished runs on disk, and reading what they recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bregbench.errors import BenchError
from bregbench.run_dir import RunDirectory


@dataclass(frozen=True)
class SavedRun:
    """What one run directory holds.

    Attributes:
        path: the run directory.
        config: the config as plain values.
        rows: one dictionary per finished epoch.
        summary: None while the run is not complete.
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


def read_run(path: Path) -> SavedRun:
    """Read one run directory."""
    directory = RunDirectory(path)
    return SavedRun(
        path=path,
        config=directory.read_config(),
        rows=directory.read_metrics(),
        summary=directory.read_summary() if directory.complete else None,
    )


def find_runs(folders: list[str]) -> list[SavedRun]:
    """What all runs at or below the given folders have recorded, in the order of their paths.

    Raises:
        BenchError: a folder does not exist, or there is no run in any of them.
    """
    return [read_run(directory.path) for directory in find_run_directories(folders)]


def find_run_directories(folders: list[str]) -> list[RunDirectory]:
    """All run directories and records at or below the given folders.

    Raises:
        BenchError: a folder does not exist, or there is no run in any of them.
    """
    paths: set[Path] = set()
    for folder in folders:
        if not Path(folder).is_dir():
            raise BenchError(f"runs={folder} is not a folder: give a run directory or one above it")
        pattern = RunDirectory(folder).config.name
        paths |= {config.parent for config in Path(folder).rglob(pattern)}
    if not paths:
        raise BenchError(f"no runs in {', '.join(folders)}: train one with bregbench-train first")
    return [RunDirectory(path) for path in sorted(paths)]


def distinguish(runs: list[SavedRun]) -> dict[str, str]:
    """A label for each run name: its method, and in what it differs from the others.

    Data set, architecture and objective are named where they differ at all; other values where they
    differ between runs of the same method.
    """
    configs = {run.name: _flatten(run.config) for run in runs}
    others = [kind for kind in _KINDS if kind != "method.kind"]
    shown = ["method.kind", *_differing(configs.values(), others)]
    labels: dict[str, str] = {}
    for name, config in configs.items():
        alike = [c for c in configs.values() if all(c.get(k) == config.get(k) for k in _KINDS)]
        keys = sorted({key for c in alike for key in c} - _UNLABELLED)
        values = [f"{_short(key)}={config.get(key)}" for key in _differing(alike, keys)]
        labels[name] = " ".join([str(config[key]) for key in shown] + values)
    return labels


_KINDS = ("data.kind", "model.kind", "method.kind", "objective.kind")
#: of no interest to a reader of a figure
_UNLABELLED = {
    "data.download",
    "data.root",
    "experiment_name",
    "runs_dir",
    "seed",
    "tracking.kind",
    "trainer.checkpoint_minutes",
    "trainer.device",
    "trainer.keep_memory",
    "trainer.snapshots",
    "trainer.threads",
}


def _differing(configs: Collection[dict[str, Any]], keys: Iterable[str]) -> list[str]:
    return [key for key in keys if len({str(config.get(key)) for config in configs}) > 1]


def _short(key: str) -> str:
    for prefix in ("method.", "trainer."):
        key = key.removeprefix(prefix)
    return key.removesuffix(".kind")


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat
