"""What a table consists of: rows made of overrides, columns made of metrics, seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bregbench.config import Config, compose
from bregbench.errors import BenchError
from bregbench.tables.verdicts import Better


@dataclass
class Row:
    """One row of a table.

    Attributes:
        overrides: of the run, beyond those common to the table.
        variant: which network of the final evaluation the row shows.
        steered: columns whose published value a setting was chosen to hit.
        hours: rough cost of one run on one CPU core, for plans before there is a record.
        not_run: why this row cannot be run; empty if it can.
    """

    overrides: list[str] = field(default_factory=list)
    variant: str = "trained"
    steered: list[str] = field(default_factory=list)
    hours: float = 0.5
    not_run: str = ""


@dataclass
class Column:
    """One column of a table.

    Attributes:
        better: which direction is an improvement.
        beside: the column (a density) that must be matched for this one to be judged.
        header: heading; the metric's name if empty.
    """

    better: Better = Better.neither
    beside: str = ""
    header: str = ""


@dataclass
class Table:
    """A table of a paper; its published numbers are in `results/published/<name>.csv`.

    Attributes:
        name: `<paper>_table<N>`, also the experiment name of its runs.
        title: heading.
        selection: which epoch the columns show: `last` or `best`.
        seeds: the seeds of every row.
        common: overrides of every row.
        columns: by metric.
        rows: by the label of the published table.
        remarks: what a reader must know, one line each.
    """

    name: str = MISSING
    title: str = MISSING
    selection: str = "last"
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    common: list[str] = field(default_factory=list)
    columns: dict[str, Column] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def config(self, row: str, seed: int, *local: str) -> Config:
        """The run behind a row and a seed.

        Args:
            row: its label.
            seed: its seed.
            local: overrides that say where and on what to run.
        """
        return compose(
            *self.common,
            *self.rows[row].overrides,
            f"experiment_name={self.name}",
            f"seed={seed}",
            "tracking=none",
            *local,
        )


def load_table(name: str) -> Table:
    """The table that configs/table/<name>.yaml describes.

    Raises:
        BenchError: there is none of that name, or the file does not fit the schema.
    """
    folder = resources.files("bregbench.configs") / "table"
    known = sorted(path.name.removesuffix(".yaml") for path in folder.iterdir())
    if name not in known:
        raise BenchError(f"table={name} is unknown: choose one of {', '.join(known)}")
    text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Table), OmegaConf.create(text))
        table = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise BenchError(f"configs/table/{name}.yaml: {str(error).splitlines()[0]}") from error
    assert isinstance(table, Table)
    return table
