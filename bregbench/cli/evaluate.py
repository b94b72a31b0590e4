"""`bregbench evaluate`: measure a finished run or record with more evaluators."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.errors import BenchError
from bregbench.foundations.own_packages import refuse_shadowed


@dataclass
class Options:
    """Measure a finished run or record; the metrics are added to its summary.

    Settings of an evaluator may follow, such as evaluators.robustness.images=200.
    """

    run: str = option("", help="run directory or record, or a folder with just one below it")
    evaluators: list[str] = option(
        default_factory=lambda: ["accuracy"],
        help="names of configs/evaluators, such as [lipschitz]",
    )
    selection: str = option("last", help="last or best (records keep the last weights alone)")
    variant: str = option(
        "trained", help="trained, thresholded where method.cut is set, cut of spred"
    )
    data_root: str = option("", help="folder with the data sets; empty for that of the run")
    data_path: str = option("", help="array archive, for data sets read from one")
    device: str = option("auto", help="auto, cpu or cuda")


EXAMPLES = (
    "runs/default/NAME/seed0",
    "runs/default/NAME/seed0 evaluators=lipschitz,robustness",
    "PATH evaluators=robustness evaluators.robustness.images=9",
)


def main() -> None:
    """Entry point."""
    sys.exit(guarded(_command))


def _command() -> int:
    settings = [argument for argument in sys.argv[1:] if argument.startswith("evaluators.")]
    others = [argument for argument in sys.argv[1:] if argument not in settings]
    options = parse(Options, others, command="bregbench evaluate", plain="run", examples=EXAMPLES)
    refuse_shadowed()
    from bregbench.runs.evaluate import evaluate_run
    from bregbench.runs.load import read_config
    from bregbench.schema.compose import compose
    from bregbench.storage.find import find_run

    if not options.run:
        raise BenchError("run= is missing: give a run directory or a record")
    chosen = compose(f"evaluators=[{','.join(options.evaluators)}]", *settings).evaluators
    directory = find_run(options.run)
    config = read_config(directory)
    config.data.root = options.data_root or config.data.root
    config.data.path = options.data_path or config.data.path
    config.trainer.device = options.device
    try:
        metrics = evaluate_run(
            directory,
            config,
            list(chosen.values()),
            selection=options.selection,
            variant=options.variant,
        )
    except BenchError as error:
        raise BenchError(_own_keys(str(error))) from error
    table = Table("metric", "value", box=None)
    for name, value in metrics.items():
        table.add_row(name, f"{value:.6g}")
    Console(soft_wrap=True).print(table)
    return 0


def _own_keys(message: str) -> str:
    """Advice about data sets, which names the keys of a run, with those of this command."""
    message = message.replace(", or data.download=true to fetch it", "")
    return message.replace("data.root", "data_root").replace("data.path", "data_path")


if __name__ == "__main__":
    main()
