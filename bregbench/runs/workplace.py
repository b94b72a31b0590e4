"""Folders, device and further overrides of the runs of tables."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol


class Located(Protocol):
    """Options of a command that say where it works; `data_path` may be one of them."""

    results_dir: str
    data_root: str
    device: str
    runs_dir: str


@dataclass(frozen=True)
class Workplace:
    """The folders and the device of a command that works on tables.

    Attributes:
        results: folder of published numbers, records, rendered tables and traces of searches.
        data_root: folder with the data sets.
        data_path: array archive, for data sets read from one; empty for none.
        device: auto, cpu or cuda.
        runs_dir: where runs work.
        more: further overrides of every run, which come last, such as the value that a search tries.
    """

    results: Path = Path("results")
    data_root: str = "data"
    data_path: str = ""
    device: str = "auto"
    runs_dir: str = "runs"
    more: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: Located, *more: str) -> Workplace:
        """The workplace that the options of a command name, with further overrides."""
        return cls(
            results=Path(options.results_dir),
            data_root=options.data_root,
            data_path=getattr(options, "data_path", ""),
            device=options.device,
            runs_dir=options.runs_dir,
            more=more,
        )

    @property
    def records(self) -> Path:
        """Where records of finished runs lie."""
        return self.results / "records"

    @property
    def bundles(self) -> Path:
        """Where bundles of small runs lie, a folder an experiment."""
        return self.results / "bundles"

    @property
    def published(self) -> Path:
        """Where the numbers that papers print lie, a file a table: in `results`, or installed."""
        own = self.results / "published"
        if own.is_dir() or find_spec("bregbench.published") is None:
            return own
        return Path(str(resources.files("bregbench.published")))

    def overrides(self) -> tuple[str, ...]:
        """Overrides of every run; later ones replace earlier ones."""
        path = (f"data.path={self.data_path}",) if self.data_path else ()
        return (
            f"data.root={self.data_root}",
            f"trainer.device={self.device}",
            f"runs_dir={self.runs_dir}",
            *path,
            *self.more,
        )

    def but(self, *more: str) -> Workplace:
        """This workplace with more overrides."""
        return dataclasses.replace(self, more=(*self.more, *more))
