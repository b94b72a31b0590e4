"""What was tried for the rows of a table on validation images, and which overrides that has chosen."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import write_text

COLUMNS = (
    *("row", "overrides", "validation accuracy", "density", "seconds", "hash", "commit", "chosen"),
)
#: a row and the overrides that it tried
Tried = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Trial:
    """One set of overrides of a row that was trained.

    Attributes:
        row: label of the row.
        overrides: what was tried.
        accuracy: on validation images after the last epoch, a fraction.
        density: after the last epoch, a fraction.
        seconds: of training.
        hash: of the run's config.
        commit: of the code that trained it.
    """

    row: str
    overrides: tuple[str, ...]
    accuracy: float
    density: float
    seconds: float
    hash: str
    commit: str

    @property
    def tried(self) -> Tried:
        """Row and overrides."""
        return self.row, self.overrides


def best_of(
    row: str, declared: Sequence[Sequence[str]], trials: Mapping[Tried, Trial]
) -> list[str] | None:
    """The overrides with the best validation accuracy, the first of equals.

    Args:
        row: label of the row.
        declared: the sets that its table declares.
        trials: what was trained.

    Returns:
        None where one of the sets has not been trained yet.
    """
    found = [trials.get((row, tuple(overrides))) for overrides in declared]
    finished = [trial for trial in found if trial is not None]
    if len(finished) < len(declared) or not finished:
        return None
    return list(max(finished, key=lambda trial: trial.accuracy).overrides)


def read_trials(path: Path) -> Mapping[Tried, Trial]:
    """The trials of a file of `results/tuning`; none where there is no such file.

    Raises:
        BenchError: the file does not have the columns of one.
    """
    try:
        state = path.stat()
    except OSError:
        return {}
    return _read(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=16)
def _read(path: Path, *state: int) -> Mapping[Tried, Trial]:
    """What a file holds; `state` tells when it has changed."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            trials = [_trial(line) for line in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise BenchError(
            f"{path} is damaged ({error!r}): put it back, or delete it and give the command of tuning again"
        ) from error
    return {trial.tried: trial for trial in trials}


def _trial(line: dict[str, str]) -> Trial:
    numbers = [float(line[key]) for key in ("validation accuracy", "density", "seconds")]
    overrides = tuple(line["overrides"].split())
    return Trial(line["row"], overrides, *numbers, hash=line["hash"], commit=line["commit"])


def write_trials(
    path: Path, rows: Mapping[str, Sequence[Sequence[str]]], trials: Iterable[Trial]
) -> None:
    """Write what was tried, in the order in which the table declares it.

    Args:
        path: the file; left alone where nothing changes.
        rows: the sets that each row declares; other trials are left out.
        trials: what was trained.
    """
    known = {trial.tried: trial for trial in trials}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row, declared in rows.items():
        chosen = best_of(row, declared, known)
        for overrides in declared:
            trial = known.get((row, tuple(overrides)))
            if trial is not None:
                writer.writerow(_line(trial, chosen=list(overrides) == chosen))
    if not path.is_file() or path.read_text(encoding="utf-8") != text.getvalue():
        write_text(path, text.getvalue())


def _line(trial: Trial, *, chosen: bool) -> tuple[str, ...]:
    numbers = (f"{trial.accuracy:.6f}", f"{trial.density:.6g}", f"{trial.seconds:.3f}")
    mark = "yes" if chosen else ""
    return (trial.row, " ".join(trial.overrides), *numbers, trial.hash, trial.commit, mark)
