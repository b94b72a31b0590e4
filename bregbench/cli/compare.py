"""`bregbench compare`: what differs between runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.console import say
from bregbench.foundations.own_packages import refuse_shadowed

if TYPE_CHECKING:
    from bregbench.runs.compare import Difference


@dataclass
class Options:
    """Show what differs between runs: config, metrics of the last epoch, final metrics.

    A run is a path of a run directory or record, or its hash (1f0e5a7b, or 1f0e5a7b/seed1).
    What all of them share is left out.
    """

    runs: list[str] = option(default_factory=list, help="two runs or more: paths or hashes")
    output: str = option("", help="write the table to this CSV file too")
    variant: str = option("trained", help="network of the final evaluation")
    selection: str = option("last", help="last or best epoch, for the final evaluation")
    runs_dir: str = option("runs", help="where runs of a hash are looked for")
    results_dir: str = option("results", help="where records of a hash are looked for")


EXAMPLES = (
    "runs/default/NAME/seed0 runs/default/OTHER/seed0",
    "1f0e5a7b 9c24d180 output=difference.csv",
)


def main() -> None:
    """Entry point."""
    sys.exit(guarded(_command))


def _command() -> int:
    options = parse(
        Options, sys.argv[1:], command="bregbench compare", plain="runs", examples=EXAMPLES
    )
    refuse_shadowed()
    from bregbench.foundations.files import write_text
    from bregbench.runs.compare import as_csv, differences
    from bregbench.storage.find import find_named, read_run

    folders = [options.runs_dir, str(Path(options.results_dir) / "records")]
    runs = [read_run(find_named(text, folders)) for text in options.runs]
    found = differences(runs, variant=options.variant, selection=options.selection)
    for number, run in enumerate(runs, start=1):
        unfinished = "" if run.summary is not None else f"  ({len(run.rows)} epochs, not complete)"
        print(f"{number}  {run.path}{unfinished}")
    Console().print(_table(found, len(runs)))
    if options.output:
        write_text(Path(options.output), as_csv(found, [str(run.path) for run in runs]))
        say(f"written: {options.output}")
    return 0


def _table(found: Sequence[Difference], runs: int) -> Table:
    """A column a run, named by its number: their paths would not fit beside each other."""
    table = Table("", *map(str, range(1, runs + 1)), box=None)
    kind = found[0].kind if found else ""
    for difference in found:
        if difference.kind != kind:
            table.add_section()
            table.add_row()
            kind = difference.kind
        table.add_row(escape(difference.key), *(escape(_shown(v)) for v in difference.values))
    if not found:
        table.add_row("no difference", *["" for _ in range(runs)])
    return table


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "-" if value is None else str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
