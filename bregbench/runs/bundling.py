"""Keeping finished runs in the bundle of a row of a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bregbench.foundations.console import say
from bregbench.foundations.errors import BenchError
from bregbench.foundations.identity import to_plain
from bregbench.runs.agreement import refuse_disagreement
from bregbench.runs.load import read_config
from bregbench.runs.records import portable, with_evaluations_of
from bregbench.runs.train import run_directory
from bregbench.schema.config import Config
from bregbench.storage.bundles import BundledRun, Line, add_to_bundle, line_of, read_bundle
from bregbench.storage.layout import RunName


def keep_in_bundle(configs: list[Config], bundle: Path) -> int:
    """Keep the finished runs of some configs in a bundle; how many are new.

    Runs that are there get what `bregbench evaluate` has measured since, and stay as they are otherwise.

    Args:
        configs: of a row of a table; runs that are not finished are left out.
        bundle: the file of the row.

    Raises:
        BenchError: a run or the bundle is damaged.
    """
    lines = list(_lines(configs, bundle))
    return add_to_bundle(bundle, lines, join=_joined) if lines else 0


def _lines(configs: list[Config], bundle: Path) -> Iterator[Line]:
    known = read_bundle(bundle)
    for config in configs:
        run, name = run_directory(config), config.run_name
        if not run.complete or (name in known and not run.read_summary().get("evaluated")):
            continue
        refuse_disagreement(run, name, asked=config.settled())
        yield line_of(run, to_plain(portable(read_config(run))))


def _joined(there: BundledRun, line: Line) -> Line | None:
    """What is there with further evaluations; None where there are none."""
    name = RunName.parse(line["run"])
    if there.line["metrics"] != line["metrics"]:
        return None
    try:
        summary = with_evaluations_of(BundledRun(there.path, name, line), there, name.path)
    except BenchError as error:
        # Such as times, which differ whenever they are taken: no reason to train nothing.
        say(f"note: the bundle stays as it is: {error}")
        return None
    return None if summary is None else there.line | {"summary": summary}
