"""`bregbench-doctor`: versions, devices, shadowed packages, data found."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.doctor import report
from bregbench.shadowing import refuse_shadowed


@dataclass
class Options:
    """Versions, devices, shadowed packages and data sets found."""

    data_root: str = option("data", help="folder with the data sets (data.root of a run)")


def main() -> None:
    """Entry point; exits with 1 where a package is shadowed."""
    sys.exit(guarded(_command))


def _command() -> int:
    options = parse(Options, sys.argv[1:], command="bregbench-doctor")
    table = Table(box=None, show_header=False)
    previous = ""
    for section, name, finding in report(Path(options.data_root)):
        table.add_row("" if section == previous else section, name, finding)
        previous = section
    Console(soft_wrap=True).print(table)
    refuse_shadowed()
    return 0


if __name__ == "__main__":
    main()
