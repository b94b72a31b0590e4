"""The address of a run, `<experiment>/<name>-<hash>/seed<k>`; only this module writes and parses it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath

from bregbench.foundations.errors import BenchError

#: Largest number of bytes in the name of a file on common file systems.
_LONGEST_PART = 255
_HASH = re.compile(r"[0-9a-f]{8}")
_SEED = re.compile(r"seed(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class RunName:
    """The address of a run, below the folder of all runs or of all records.

    Attributes:
        experiment: a folder, or a folder in a folder such as `a/b`.
        name: data set, architecture and method of the run, for people.
        hash: eight hexadecimal digits of the run's identity.
        seed: seed of the run's random streams.

    Raises:
        BenchError: a part is no plain name of a file, or the hash or the seed has another form.
    """

    experiment: str
    name: str
    hash: str
    seed: int

    def __post_init__(self) -> None:
        parts = [*self.experiment.split("/"), self.folder]
        known = _HASH.fullmatch(self.hash) and _SEED.fullmatch(f"seed{self.seed}")
        if not known or "/" in self.name or not all(map(_is_plain, parts)):
            raise BenchError(
                f"record {str(self)!r} has no address of a record (EXPERIMENT/NAME-HASH/seed0): correct "
                "experiment_name, name, hash and seed in its summary.json"
            )

    @property
    def folder(self) -> str:
        """Name and hash, the same for all seeds."""
        return f"{self.name}-{self.hash}"

    @property
    def path(self) -> Path:
        """The address as a relative path."""
        return Path(*self.experiment.split("/"), self.folder, f"seed{self.seed}")

    def __str__(self) -> str:
        return f"{self.experiment}/{self.folder}/seed{self.seed}"

    @classmethod
    def parse(cls, path: PurePath | str) -> RunName:
        """The address of a path, relative to the folder of all runs.

        Raises:
            BenchError: the path is no address of a run.
        """
        *experiment, folder, seed = ("", "", *PurePath(path).parts)
        name, _, digits = folder.rpartition("-")
        found = _SEED.fullmatch(seed)
        if found is None or not name:
            raise BenchError(f"{path} is no run: give a path such as EXPERIMENT/NAME-HASH/seed0")
        return cls("/".join(filter(None, experiment)), name, digits, int(found[1]))


def check_experiment(name: str) -> None:
    """Raise BenchError unless the name of an experiment is a visible folder below `runs_dir`.

    Raises:
        BenchError: the name would lead out of `runs_dir`, or to a hidden folder.
    """
    if not all(map(_is_plain, name.split("/"))):
        raise BenchError(
            f"experiment_name={name!r} is out of range: experiment_name must be a folder in runs_dir, such "
            "as a or a/b, without an absolute path, `.`, `..`, hidden folders and backslashes"
        )


def _is_plain(part: str) -> bool:
    """Whether a name is valid for one visible file or folder on every system."""
    return (
        part != ""
        and part.isprintable()
        and part == part.strip()
        and not part.startswith(".")
        and not set(part) & set('\\/:*?"<>|')
        and len(os.fsencode(part)) <= _LONGEST_PART
    )
