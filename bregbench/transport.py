"""Moving finished runs between machines: packed as records, merged without overwriting anything."""

from __future__ import annotations

import filecmp
import shutil
import tarfile
import tempfile
from pathlib import Path

from bregbench.errors import BenchError
from bregbench.files import write_atomically
from bregbench.records import export_record
from bregbench.run_dir import RunDirectory


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


def merge(archive: Path, records_dir: Path) -> tuple[list[str], list[str]]:
    """Unpack the records of an archive; those that exist already stay as they are.

    Args:
        archive: what `pack` wrote.
        records_dir: where records are kept.

    Returns:
        Names of the records that are new, and of those that were there already.

    Raises:
        BenchError: not such an archive, or a record differs from the one that is there; then
            nothing is changed.
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
        for record in found:
            name = _record_name(record)
            there = RunDirectory(records_dir / name)
            if not there.complete:
                new.append((record, there.path))
            elif filecmp.cmp(record.metrics, there.metrics, shallow=False):
                known.append(str(name))
            else:
                raise BenchError(
                    f"{name} is there already and differs: remove one of the two records first"
                )
        for record, target in new:
            shutil.copytree(record.path, target, dirs_exist_ok=True)
    return [str(target.relative_to(records_dir)) for _, target in new], known


def _record_name(run: RunDirectory) -> Path:
    summary = run.read_summary()
    folder = f"{summary['name']}-{summary['hash']}"
    return Path(summary["experiment_name"]) / folder / f"seed{summary['seed']}"
