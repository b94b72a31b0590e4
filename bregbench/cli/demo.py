"""The demonstration: four ways to train on real handwritten digits, in a minute.

Run by `make demo`. Dense SGD, the Lasso by proximal gradient descent, LinBreg and AdaBreg on the 1,797
digits that scikit-learn carries; the strengths of the penalties were chosen on the validation split.
"""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from bregbench.cli.outcome import guarded
from bregbench.figures.curves import draw
from bregbench.foundations.console import say
from bregbench.foundations.own_packages import refuse_shadowed
from bregbench.runs.train import run_directory, train
from bregbench.schema.compose import compose
from bregbench.storage.find import read_run

EXPERIMENT = "demo"
COMMON = ("dataset=digits", "model=mlp", "trainer.epochs=60", "trainer.batch_size=32")
METHODS = {
    "SGD": ("method=sgd",),
    "Lasso (proximal gradient)": ("method=prox_sgd", "method.lam=0.001"),
    "LinBreg": ("method=linbreg", "method.lam=0.1"),
    "AdaBreg": ("method=adabreg", "method.lam=0.2"),
}


def main() -> None:
    """Entry point; `runs_dir=...` and any other override of a run may follow."""
    sys.exit(guarded(lambda: _demo(sys.argv[1:])))


def _demo(overrides: list[str]) -> int:
    refuse_shadowed()
    common = (*COMMON, f"experiment_name={EXPERIMENT}", "tracking=none")
    configs = {label: compose(*common, *method, *overrides) for label, method in METHODS.items()}
    summaries: dict[str, dict[str, Any]] = {}
    for label, config in configs.items():
        say(f"\n{label}")
        summaries[label] = train(config)
    directories = {label: run_directory(config) for label, config in configs.items()}
    first = next(iter(directories.values()))
    output = first.path.parent.parent / "demo.png"
    draw(
        [read_run(directory) for directory in directories.values()],
        x="epoch",
        ys=["density/total", "validation/accuracy"],
        output=output,
        labels={directory.name: label for label, directory in directories.items()},
    )
    Console().print(_table(summaries))
    print(f"density and accuracy over epochs: {output}")
    return 0


def _table(summaries: dict[str, dict[str, Any]]) -> Table:
    table = Table("method", title="Handwritten digits (8x8), 64-200-80-10 network, one seed")
    for header in ("test accuracy %", "density %", "seconds"):
        table.add_column(header, justify="right")
    for label, summary in summaries.items():
        final = summary["final"]["trained"]["last"]
        table.add_row(
            label,
            f"{100 * final['test/accuracy']:.1f}",
            f"{100 * final['density/total']:.1f}",
            f"{summary['seconds']:.1f}",
        )
    return table


if __name__ == "__main__":
    main()
