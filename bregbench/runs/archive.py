"""Moving finished runs between machines: packed as records, merged without overwriting anything."""

from __future__ import annotations

import filecmp
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import write_atomically, write_json
from bregbench.runs.records import export_record, with_evaluations_of
from bregbench.storage.directory import RunDirectory


def pack(runs: list[RunDirectory], output: Path) -> int:
    """Write the records of finished runs into one compressed archive.

    Args:
        runs: run directories or records; unfinished ones are left out.
        output: a `.tar.gz` file.

    Returns:
        How many records it holds.

    Raises:
        BenchError: none of the runs is finished, or two of them are the same run.
    """
    if not output.name.endswith(".tar.gz"):
        raise BenchError(f"output={output} must end in .tar.gz")
    finished = [run for run in runs if run.complete]
    if not finished:
        raise BenchError("no finished runs to pack: see bregbench-runs list")
    with tempfile.TemporaryDirectory() as folder:
        for run in finished:
            record = RunDirectory(Path(folder) / _record_name(run))
            if record.path.exists():
                raise BenchError(f"two of the runs are {_record_name(run)}: pack them one by one")
            if run.weights.is_file():
                export_record(run, record)
            else:
                shutil.copytree(run.path, record.path)

        def write(temporary: Path) -> None:
            with tarfile.open(temporary, "w:gz") as archive:
                archive.add(folder, arcname=".")

        write_atomically(output, write)
    return len(finished)


class Merged(NamedTuple):
    """Names of records: new ones, those that were there already, and which of these got evaluations."""

    new: list[str]
    known: list[str]
    completed: list[str]


def merge(archive: Path, records_dir: Path) -> Merged:
    """Unpack the records of an archive; those that exist already get its evaluations and no more.

    Args:
        archive: what `pack` wrote.
        records_dir: where records are kept.

    Raises:
        BenchError: not such an archive, a record that would not lie in `records_dir`, or one that
            differs from the one that is there; then nothing is changed.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            with tarfile.open(archive, "r:gz") as packed:
                packed.extractall(folder, filter="data")
        except (OSError, tarfile.TarError, EOFError) as error:
            raise BenchError(f"archive={archive} cannot be read: {error}") from error
        found = [RunDirectory(p.parent) for p in sorted(Path(folder).rglob("summary.json"))]
        if not found:
            raise BenchError(f"archive={archive} holds no records")
        new: list[tuple[RunDirectory, Path]] = []
        known: list[str] = []
        longer: dict[str, tuple[RunDirectory, dict[str, Any]]] = {}
        for record in found:
            name = _record_name(record)
            there = RunDirectory(records_dir / name)
            if not there.complete:
                new.append((record, there.path))
            elif filecmp.cmp(record.metrics, there.metrics, shallow=False):
                known.append(str(name))
                summary = with_evaluations_of(record, there, name)
                if summary is not None:
                    longer[str(name)] = there, summary
            else:
                raise BenchError(
                    f"{name} is there already and differs: remove one of the two records first"
                )
        for record, target in new:
            shutil.copytree(record.path, target, dirs_exist_ok=True)
        for there, summary in longer.values():
            write_json(there.summary, summary)
    names = [str(target.relative_to(records_dir)) for _, target in new]
    return Merged(names, known, list(longer))


def _record_name(run: RunDirectory) -> Path:
    """Where a record belongs, below the folder of all records.

    Raises:
        BenchError: its summary, which may come from anywhere, does not say, or names another place.
    """
    summary = run.read_summary()
    try:
        folder = f"{summary['name']}-{summary['hash']}"
        experiment, seed = str(summary["experiment_name"]), f"seed{summary['seed']}"
    except KeyError as error:
        raise BenchError(f"{run.path} is no record: its summary has no {error}") from None
    # An experiment may be a folder in a folder.
    parts = [*experiment.split("/"), folder, seed]
    if any(part in ("", ".", "..") or "/" in part or "\\" in part for part in parts):
        raise BenchError(
            f"record {'/'.join(parts)!r} would not lie where records do: correct experiment_name, name, "
            "hash and seed in its summary.json"
        )
    return Path(*parts)
