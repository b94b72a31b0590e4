"""Moving finished runs between machines: packed as records, merged without overwriting anything."""

from __future__ import annotations

import filecmp
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import write_atomically, write_json
from bregbench.runs.agreement import refuse_disagreement
from bregbench.runs.load import read_config
from bregbench.runs.records import export_record, put_record, with_evaluations_of
from bregbench.runs.unpacking import unpack
from bregbench.storage.directory import RunDirectory
from bregbench.storage.layout import RunName
from bregbench.storage.ledger import refuse_damaged_files


def pack(runs: list[RunDirectory], output: Path) -> int:
    """Write the records of finished runs into one compressed archive.

    Args:
        runs: run directories or records; unfinished ones are left out.
        output: a `.tar.gz` file.

    Returns:
        The number of records in the archive.

    Raises:
        BenchError: none of the runs is finished, two of them are the same run, or the files of a run
            disagree.
    """
    if not output.name.endswith(".tar.gz"):
        raise BenchError(f"output={output} must end in .tar.gz")
    finished = [run for run in runs if run.complete]
    if not finished:
        raise BenchError("no finished runs to pack: see bregbench runs list")
    with tempfile.TemporaryDirectory() as folder:
        for run in finished:
            name = run_name(run)
            refuse_disagreement(run, name, asked=read_config(run))
            record = RunDirectory(Path(folder) / name.path)
            if record.path.exists():
                raise BenchError(f"two of the runs are {name}: pack them one by one")
            export_record(run, record)

        def write(temporary: Path) -> None:
            with tarfile.open(temporary, "w:gz") as archive:
                archive.add(folder, arcname=".")

        write_atomically(output, write)
    return len(finished)


class Merged(NamedTuple):
    """Names of merged records.

    Attributes:
        new: records that were added.
        known: records that existed.
        completed: existing records that gained evaluations.
    """

    new: list[str]
    known: list[str]
    completed: list[str]


def merge(archive: Path, records_dir: Path) -> Merged:
    """Add the records of an archive; existing records only gain evaluations.

    Each new record is written beside its place and renamed, so that a killed merge leaves no partial record.
    The same command then continues the merge.

    Args:
        archive: what `pack` wrote.
        records_dir: where records are kept.

    Raises:
        BenchError: the file is no archive of records, or one of its records has no valid address, has files
            that disagree, or differs from the existing record; nothing is changed then.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = _named(unpack(archive, Path(folder)), archive)
        new: list[RunName] = []
        known: list[RunName] = []
        completed: list[RunName] = []
        for name, record in found.items():
            there = RunDirectory(records_dir / name.path)
            if not there.complete:
                new.append(name)
                continue
            known.append(name)
            if _further(record, there, name) is not None:
                completed.append(name)
        for name in new:
            put_record(found[name], RunDirectory(records_dir / name.path), replace=False)
        for name in completed:
            there = RunDirectory(records_dir / name.path)
            with there.keeping():
                summary = _further(found[name], there, name)
                if summary is not None:
                    write_json(there.summary, summary)
    return Merged(*([str(name) for name in names] for names in (new, known, completed)))


def _named(records: list[RunDirectory], archive: Path) -> dict[RunName, RunDirectory]:
    """Records by address.

    Raises:
        BenchError: a record is damaged, or two records have one address.
    """
    found: dict[RunName, RunDirectory] = {}
    for record in records:
        name = run_name(record)
        refuse_disagreement(record, name)
        refuse_damaged_files(record, lacking=True)
        if name in found:
            raise BenchError(f"archive={archive} holds {name} twice: pack the records again")
        found[name] = record
    return found


def _further(record: RunDirectory, there: RunDirectory, name: RunName) -> dict[str, Any] | None:
    """The summary of the record `there` with the evaluations of `record` added; None if none are new."""
    if not filecmp.cmp(record.metrics, there.metrics, shallow=False):
        raise BenchError(
            f"record {name} exists and differs in its metrics: remove one of the two records first"
        )
    return with_evaluations_of(record, there, name.path)


def run_name(run: RunDirectory) -> RunName:
    """The address of a finished run, from its summary, which is not trusted.

    Raises:
        BenchError: the summary lacks a part of the address, or a part is invalid.
    """
    summary = run.read_summary()
    try:
        experiment, name, digits = (summary[key] for key in ("experiment_name", "name", "hash"))
        return RunName(str(experiment), str(name), str(digits), summary["seed"])
    except KeyError as error:
        raise BenchError(f"{run.path} is no record: its summary has no {error}") from None
