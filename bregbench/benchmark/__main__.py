"""`python -m bregbench.benchmark [--rounds N] [--only PART ...] [--output DIR]`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from bregbench.benchmark.clip import lipschitz_rows
from bregbench.benchmark.dessilbi import split_rows
from bregbench.benchmark.fno import fourier_rows
from bregbench.benchmark.lifted import lifted_rows
from bregbench.benchmark.loop import loop_rows
from bregbench.benchmark.report import MARKDOWN_NAME, environment, render_row, write_report
from bregbench.benchmark.shrunk import shrunk_rows
from bregbench.benchmark.sparse import sparse_rows
from bregbench.benchmark.steps import all_step_rows

PARTS = {
    "steps": all_step_rows,
    "loop": loop_rows,
    "lipschitz": lipschitz_rows,
    "lifted": lifted_rows,
    "split": split_rows,
    "fourier": fourier_rows,
    "shrunk": shrunk_rows,
    "sparse": sparse_rows,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print every row as it comes, write the report; return the exit status.

    With `--only` the report is written where `--output` says, and nowhere by default: it would take
    the place of the whole one. A missed goal is a finding, not an error: the status is 0 all the same.
    """
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for part in options.only or PARTS:
        for row in PARTS[part](rounds=options.rounds):
            rows.append(row)
            print(f"| {row.section} {render_row(row)}", flush=True)
    missed = sum(row.verdict == "FAIL" for row in rows)
    print(f"{len(rows)} rows, {missed} missed their goal")
    folder = options.output or (None if options.only else Path("results/benchmark"))
    if folder is not None:
        write_report(rows, environment(options.rounds), folder)
        print(f"written: {folder / MARKDOWN_NAME}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bregbench.benchmark", description=__doc__)
    parser.add_argument(
        "--rounds", type=_rounds, default=15, help="measurements per side, at least 3"
    )
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="parts to measure")
    parser.add_argument("--output", type=Path, help="folder for the JSON and the table")
    return parser


def _rounds(text: str) -> int:
    rounds = int(text)
    if rounds < 3:
        raise argparse.ArgumentTypeError(f"{rounds} is too few (must be at least 3)")
    return rounds


if __name__ == "__main__":
    raise SystemExit(main())
