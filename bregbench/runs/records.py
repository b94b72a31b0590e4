"""Records: the small files of finished runs that are kept as evidence.

A record is laid out like a run directory, without checkpoints: config, summary, metrics, and for
seed 0 the final weights, snapshots and traces where they are small.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from bregbench.data import DatasetConfig
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import (
    read_tensors,
    reporting_writes,
    sync_folder,
    write_json,
)
from bregbench.foundations.identity import to_plain
from bregbench.runs.load import read_config
from bregbench.schema.config import Config
from bregbench.storage.bundles import BundledRun, find_bundled
from bregbench.storage.directory import UNFINISHED, RunDirectory
from bregbench.storage.sparse_weights import save_sparse

#: bytes above which weights, snapshots and traces are not kept in a record
LARGEST_FILE = 2**20


def record_of(config: Config, records_dir: Path) -> RunDirectory:
    """Where the record of a config's run lies or would lie."""
    return RunDirectory(records_dir / config.run_name.path)


def export_record(run: RunDirectory, record: RunDirectory, *, replace: bool = True) -> bool:
    """Write the record of a finished run.

    Args:
        run: a complete run directory, or a run in a bundle.
        record: where to put it.
        replace: False leaves a record that another command has put there meanwhile as it is.

    Returns:
        Whether the record was written.
    """
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(run, BundledRun):
            return put_record(run.pull(Path(folder) / "record"), record, replace=replace)
        fresh = RunDirectory(Path(folder) / "record")
        fresh.path.mkdir()
        for source in (run.penalties, run.metrics, run.summary):
            copy_file(source, fresh.path / source.name)
        write_json(fresh.config, to_plain(portable(read_config(run))))
        if run.read_summary()["seed"] == 0:
            _keep_weights(run, fresh)
        return put_record(fresh, record, replace=replace)


def put_record(fresh: RunDirectory, record: RunDirectory, *, replace: bool) -> bool:
    """Copy a record to its place, and return whether it was copied.

    The copy is made beside its place and renamed, so that a killed process leaves the old record, the new
    record or none.

    Args:
        fresh: the record to copy.
        record: the place of the copy.
        replace: whether a complete record in that place is replaced.
    """
    with record.keeping(), reporting_writes(record.path):
        if record.complete and not replace:
            return False
        beside = Path(tempfile.mkdtemp(dir=record.path.parent, prefix=UNFINISHED))
        try:
            shutil.copytree(fresh.path, beside / "new")
            for file in filter(Path.is_file, (beside / "new").rglob("*")):
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
            if record.path.exists():
                record.path.rename(beside / "old")
            (beside / "new").rename(record.path)
            sync_folder(record.path.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return True


def copy_file(source: Path, target: Path) -> None:
    """Copy a file of a run.

    Raises:
        BenchError: the file is missing.
    """
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise BenchError(
            f"{source} is missing: put the file back, or delete {source.parent} and train that run again"
        ) from error


def with_evaluations_of(
    other: RunDirectory, record: RunDirectory, name: Path
) -> dict[str, Any] | None:
    """The summary of a record with what `bregbench evaluate` has measured of a copy; None if it has all.

    Args:
        other: a record or run directory of the same training.
        record: the record.
        name: name of the record in messages.

    Raises:
        BenchError: the two copies have different values of a metric.
    """
    summary, found = record.read_summary(), other.read_summary()
    done = summary.setdefault("evaluated", [])
    further = [entry for entry in found.get("evaluated", []) if entry not in done]
    if not further:
        return None
    differing: list[str] = []
    for variant, selections in found["final"].items():
        for selection, metrics in selections.items():
            own = summary["final"].setdefault(variant, {}).setdefault(selection, {})
            differing += [m for m, value in metrics.items() if own.setdefault(m, value) != value]
    if differing:
        raise BenchError(
            f"two copies of {name} measure {', '.join(sorted(set(differing)))} differently: remove one "
            "of them first"
        )
    done += further
    return summary


def _keep_weights(run: RunDirectory, record: RunDirectory) -> None:
    if run.weights.is_file():
        save_sparse(record.sparse_weights, read_tensors(run.weights))
        if record.sparse_weights.stat().st_size > LARGEST_FILE:
            record.sparse_weights.unlink()
    elif run.sparse_weights.is_file():
        # `run` is a record itself.
        copy_file(run.sparse_weights, record.sparse_weights)
    for source in [run.traces, *sorted(run.snapshots.glob("*.safetensors"))]:
        if source.is_file() and source.stat().st_size <= LARGEST_FILE:
            target = record.path / source.relative_to(run.path)
            target.parent.mkdir(exist_ok=True)
            copy_file(source, target)


def portable(config: Config) -> Config:
    """The config without folders of the machine that it ran on."""
    data = dataclasses.replace(
        config.data,
        root=DatasetConfig.root,
        path=None if config.data.path is None else Path(config.data.path).name,
    )
    phases = {
        name: dataclasses.replace(phase, begin=phase.begin and phase.begin.portable())
        for name, phase in config.phases.items()
    }
    return dataclasses.replace(config, data=data, phases=phases, runs_dir=Config.runs_dir)


def find_complete(config: Config, records_dir: Path) -> RunDirectory | None:
    """The finished run of a config: its record, else in a bundle, else its run directory, else None.

    Raises:
        BenchError: the files of the finished run are damaged or belong to different runs.
    """
    from bregbench.runs.agreement import refuse_disagreement

    name = config.run_name
    places = (
        lambda: RunDirectory(records_dir / name.path),
        lambda: find_bundled(bundles_beside(records_dir), name),
        lambda: RunDirectory(Path(config.runs_dir) / name.path),
    )
    for place in places:
        directory = place()
        if directory is not None and directory.complete:
            refuse_disagreement(directory, name, asked=config.settled())
            return directory
    return None


def bundles_beside(records_dir: Path) -> Path:
    """The folder of bundles that belongs to a folder of records."""
    return records_dir.parent / "bundles"
