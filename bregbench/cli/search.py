"""`bregbench search`: find a setting that a paper does not state, such as lam for a density.

Two ways: a secant towards a wanted value of a metric, or the best of a list of values.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.console import say
from bregbench.foundations.durations import parse_duration
from bregbench.foundations.errors import BenchError
from bregbench.foundations.own_packages import refuse_shadowed

if TYPE_CHECKING:
    from bregbench.tables.published import Published
    from bregbench.tables.spec import Table


@dataclass
class Options:
    """Find the value of a key that brings a metric of a table's row to the published number.

    With `values=` it is the one of them that is best on the validation split instead.
    """

    table: str = option("", help="name of a file in configs/table")
    row: str = option("", help="label of a row")
    key: str = option("method.lam", help="the key to vary; its value in the table is tried first")
    column: str = option("density/total", help="the metric; must not look at test data")
    target: float | None = option(None, help="wanted value in the published unit; null: published")
    start: float | None = option(None, help="first value; null: the table's")
    values: list[float] = option(
        default_factory=list, help="try these and take the one with the largest column instead"
    )
    tried: list[float] = option(default_factory=list, help="values to begin with, if already run")
    slope: float = option(
        -1.0, help="assumed slope of log metric over log value, for the first step"
    )
    tolerance: float = option(0.05, help="relative distance that is near enough")
    most: int = option(3, help="at most so many runs")
    epochs: int | None = option(None, help="search on runs shortened to so many epochs")
    seed: int = option(0, help="seed of the runs")
    time_budget: str = option("", help="stop cleanly after 9m, 2h, ...; the same command resumes")
    data_root: str = option("data", help="folder with the data sets")
    device: str = option("auto", help="auto, cpu or cuda")
    runs_dir: str = option("runs", help="where runs work")
    results_dir: str = option("results", help="where published numbers and traces lie")


EXAMPLES = (
    "bregman_table1 row=LinBreg",
    "clip_table1 row=CLIP key=method.lr values=0.05,0.1",
)


def main() -> None:
    """Entry point."""
    sys.exit(guarded(_command))


def _command() -> int:
    options = parse(
        Options, sys.argv[1:], command="bregbench search", plain="table", examples=EXAMPLES
    )
    refuse_shadowed()
    from bregbench.figures.specs import load_table
    from bregbench.foundations.files import write_json
    from bregbench.reproduce.search import Point, nearest, secant
    from bregbench.runs.workplace import Workplace
    from bregbench.tables.published import UNITS, read_published

    table = load_table(options.table)
    if options.row not in table.rows:
        raise BenchError(
            f"row={options.row} is not in {table.name}: it has {', '.join(table.rows)}"
        )
    if options.column.split()[-1].startswith("test/"):
        raise BenchError(f"column={options.column} looks at test data: choose another metric")
    place = Workplace.of(options)
    published = read_published(place.published / f"{table.name}.csv")
    cell = published.get((options.row, options.column))
    target = None if options.values else _target(options, cell)
    factor = UNITS[cell.unit] if cell is not None else 1.0
    budget = parse_duration(options.time_budget, key="time_budget") if options.time_budget else None
    deadline = None if budget is None else time.monotonic() + budget

    def measure(value: float) -> float:
        say(f"search: {options.row}, {options.key}={value:g}")
        found = factor * _measure(options, table, value, deadline)
        wanted = "the largest" if target is None else f"{target:g}"
        say(f"search: {options.key}={value:g} gives {options.column} {found:.4g}, wanted {wanted}")
        return found

    if target is None:
        points = [Point(value, measure(value)) for value in options.values]
        best = max(points, key=lambda point: point.metric)
    else:
        points = secant(
            measure,
            start=_start(options, table),
            target=target,
            tolerance=options.tolerance,
            most=options.most,
            known=[Point(value, measure(value)) for value in options.tried],
            slope=options.slope,
        )
        best = nearest(points, target)
    path = _trace_path(options)
    write_json(path, _trace(options, points, target, best.value))
    say(f"search: {options.key}={best.value:g} gives {best.metric:.4g}; trace: {path}")
    if target is not None and abs(best.metric / target - 1) > options.tolerance:
        raise BenchError(
            f"{options.column} {best.metric:.4g} is not within {options.tolerance:.0%} of {target:g} "
            f"after {len(points)} runs: give most={options.most + 2} or another start"
        )
    return 0


def _target(options: Options, cell: Published | None) -> float:
    if options.target is not None:
        return options.target
    if cell is None:
        raise BenchError(
            f"{options.row} has no published {options.column}: give target= or another column"
        )
    return cell.value


def _start(options: Options, table: Table) -> float:
    if options.start is not None:
        return options.start
    for override in reversed([*table.common, *table.rows[options.row].overrides]):
        key, _, value = override.partition("=")
        if key == options.key:
            return float(value)
    raise BenchError(f"{options.key} has no value in row {options.row}: give start=")


def _measure(options: Options, table: Table, value: float, deadline: float | None) -> float:
    from bregbench.runs.train import run_directory, train
    from bregbench.runs.workplace import Workplace
    from bregbench.tables.cells import metric_of

    epochs = () if options.epochs is None else (f"trainer.epochs={options.epochs}",)
    place = Workplace.of(options, f"{options.key}={value:g}", *epochs)
    part = table.part(options.column)
    config = table.config(options.row, options.seed, place, part=part)
    train(config, deadline=deadline)
    found = metric_of(
        run_directory(config),
        options.column.split()[-1],
        variant=table.rows[options.row].variant,
        selection=table.selection,
    )
    if found is None:
        raise BenchError(f"{options.column} is not measured by {config.hashed_name}")
    return found


def _trace_path(options: Options) -> Path:
    """One file per row and key; lam, the usual one, is not named."""
    key = "" if options.key == "method.lam" else f"-{options.key}"
    slug = re.sub(r"[^a-z0-9]+", "-", (options.row + key).lower()).strip("-")
    return Path(options.results_dir) / "searches" / options.table / f"{slug}.json"


def _trace(
    options: Options, points: list[Any], target: float | None, chosen: float
) -> dict[str, Any]:
    """What was tried, for everybody to see."""
    from bregbench.foundations.provenance import commit

    return {
        "table": options.table,
        "row": options.row,
        "key": options.key,
        "column": options.column,
        "target": target,
        "epochs": options.epochs,
        "seed": options.seed,
        "points": [asdict(point) for point in points],
        "chosen": chosen,
        "commit": commit(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


if __name__ == "__main__":
    main()
