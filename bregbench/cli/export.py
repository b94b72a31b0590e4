"""`bregbench export`: the network of a finished run as one file that runs without this library."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.errors import BenchError
from bregbench.foundations.own_packages import refuse_shadowed


@dataclass
class Options:
    """Write the network of a finished run or record as one file that runs without this library."""

    run: str = option("", help="run directory or record, or a folder with just one below it")
    output: str = option("network.pt2", help="*.pt2 (torch.export) or *.onnx")
    compact: bool = option(True, help="without units that nothing reads or that are constant")
    selection: str = option("last", help="last or best (records keep the last weights alone)")
    variant: str = option(
        "trained", help="trained, thresholded where method.cut is set, cut of spred"
    )
    overwrite: bool = option(False, help="replace a file of that name")


EXAMPLES = (
    "runs/default/NAME/seed0",
    "runs/default/NAME/seed0 output=network.onnx overwrite=true",
)


def main() -> None:
    """Entry point."""
    sys.exit(guarded(_command))


def _command() -> int:
    options = parse(
        Options, sys.argv[1:], command="bregbench export", plain="run", examples=EXAMPLES
    )
    refuse_shadowed()
    from bregbench.evaluators.compacting import NotFollowed, compacted
    from bregbench.runs.evaluate import variant_of
    from bregbench.runs.export import size_of, write_network
    from bregbench.runs.load import load_run, read_config
    from bregbench.storage.find import find_run

    if not options.run:
        raise BenchError("run= is missing: give a run directory or a record")
    output = Path(options.output)
    if output.exists() and not options.overwrite:
        raise BenchError(f"output={output} exists: give another name, or overwrite=true")
    directory = find_run(options.run)
    config = read_config(directory)
    with config.trainer.applied():
        network = load_run(directory.path, selection=options.selection)
        network = variant_of(network, config, options.variant).eval()
        shape = tuple(directory.read_summary()["input_shape"])
        smaller = network
        if options.compact:
            try:
                smaller = compacted(network, shape)
            except NotFollowed as error:
                raise BenchError(f"{error}; compact=false exports it as it is") from error
        difference = write_network(smaller, output, shape)
        sizes = {"as trained": size_of(network, shape)}
        if options.compact:
            sizes["compacted"] = size_of(smaller, shape)
    table = Table("network", "parameters", "non-zero", "MACs", "ms for 128 inputs", box=None)
    for name, size in sizes.items():
        numbers = (size.parameters, size.nonzero, size.macs)
        table.add_row(name, *(f"{n:,}" for n in numbers), f"{size.milliseconds:.3g}")
    console = Console(soft_wrap=True)
    console.print(table)
    checked = "not run here (onnxruntime is missing)"
    if difference is not None:
        checked = f"outputs of the file differ by at most {difference:.2g}"
    console.print(f"written: {output} ({output.stat().st_size / 1e3:,.0f} kB), {checked}")
    console.print(f"input: (batch, {', '.join(map(str, shape))}), values in [0, 1]")
    return 0


if __name__ == "__main__":
    main()
