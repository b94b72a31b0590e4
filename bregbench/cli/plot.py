"""`bregbench plot`: draw any metric against any other from saved runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.console import say


@dataclass
class Options:
    """Draw any metric against any other, from the records of saved runs."""

    runs: list[str] = option(
        default_factory=lambda: ["runs"], help="run directories, or folders above them"
    )
    x: str = option("epoch", help="metric on the horizontal axis")
    y: list[str] = option(
        default_factory=lambda: ["validation/accuracy", "density/total"],
        help="metrics on the vertical axis, one panel each",
    )
    output: str = option("figure.png", help="image file: png, pdf or svg")
    log: list[str] = option(default_factory=list, help="metrics on a logarithmic axis")
    variant: str = option("trained", help="network of the final evaluation")
    by: str = option(
        "", help="a row of panels for each value: dataset, model, method, method.lam, ..."
    )
    selection: str = option("last", help="last or best validation epoch, for final metrics")


EXAMPLES = (
    "",
    "runs/default y=validation/accuracy,density/total output=a.pdf",
    "runs/default runs/other x=density/total y=test/accuracy",
)


def main() -> None:
    """Entry point."""
    sys.exit(guarded(_command))


def _command() -> int:
    options = parse(
        Options, sys.argv[1:], command="bregbench plot", plain="runs", examples=EXAMPLES
    )
    from bregbench.figures.curves import draw
    from bregbench.storage.find import find_runs

    runs = find_runs(options.runs)
    output = Path(options.output)
    draw(
        runs,
        x=options.x,
        ys=options.y,
        output=output,
        variant=options.variant,
        selection=options.selection,
        log=options.log,
        by=options.by,
    )
    say(f"drawn: {output} from {len(runs)} runs")
    return 0


if __name__ == "__main__":
    main()
