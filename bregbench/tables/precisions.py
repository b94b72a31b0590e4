"""Rows with `trainer.precision=auto`, whose cells may be filled by runs in bf16 or fp32.

A run in bf16 takes precedence over a run in fp32, whatever machine renders the table. Missing runs are
trained in the precision of the machine that trains them.
"""

from __future__ import annotations

from collections.abc import Iterator

from bregbench.runs.records import find_complete
from bregbench.runs.train import run_directory
from bregbench.runs.workplace import Workplace
from bregbench.schema.config import Config
from bregbench.schema.trainer import Precision
from bregbench.storage.directory import RunDirectory
from bregbench.tables.spec import Table, begin_with

_KEY = "trainer.precision"
#: precisions in the order of precedence
PRECISIONS = (Precision.bf16, Precision.fp32)


def asks_auto(table: Table, row: str, place: Workplace, *, part: str = "") -> bool:
    """Whether the run behind a row takes the precision of the machine."""
    given = [override.lstrip("+") for override in (*table.overrides(row, part), *place.more)]
    values = [value for key, _, value in (text.partition("=") for text in given) if key == _KEY]
    return bool(values) and values[-1] == Precision.auto.name


def candidates(
    table: Table, row: str, seed: int, place: Workplace, *, part: str = ""
) -> Iterator[tuple[Config, Config | None]]:
    """Configs whose runs may fill the cells of a row and a seed, each with the config of its source, if any.

    The first finished one counts. There are none where the row is still to be tuned.
    """
    if table.chosen(row, place) is None:
        return
    auto = asks_auto(table, row, place, part=part)
    choices = [(f"{_KEY}={precision.name}",) for precision in PRECISIONS] if auto else [()]
    source = table.rows[row].source
    for choice in choices:
        config = table.config(row, seed, place.but(*choice), part=part)
        if not source:
            yield config, None
            continue
        for begun, _ in candidates(table, source, seed, place, part=part):
            yield begin_with(config, run_directory(begun)), begun


def finished(
    table: Table, row: str, seed: int, place: Workplace, *, part: str = ""
) -> tuple[Config, RunDirectory] | None:
    """The run that fills the cells of a row and a seed, and its config; None where there is none."""
    for config, _ in candidates(table, row, seed, place, part=part):
        run = find_complete(config, place.records)
        if run is not None:
            return config, run
    return None


def to_train(
    table: Table, row: str, seed: int, place: Workplace, *, part: str = ""
) -> tuple[Config, RunDirectory | None]:
    """The config to train on this machine for a row and a seed, and the run that it begins with, if any.

    A finished source is preferred to an unfinished one, whatever its precision.
    """
    given = list(candidates(table, row, seed, place, part=part))
    own = given[0][0].trainer.own_precision()
    # If the row has a source, there is one candidate for each pair of precisions of row and source.
    mine = [found for found in given if found[0].trainer.precision is own] or given
    begun = [
        (config, source, source and find_complete(source, place.records)) for config, source in mine
    ]
    for config, _, run in begun:
        if run is not None:
            return begin_with(config, run), run
    config, source = next(
        (found for found in mine if found[1] and found[1].trainer.precision is own), mine[0]
    )
    return config, source and run_directory(source)


def precisions_of(runs: list[RunDirectory]) -> str:
    """The precisions of runs, for remarks."""
    names = {run.read_config()["trainer"].get("precision", Precision.fp32.name) for run in runs}
    return " and ".join(sorted(names))
