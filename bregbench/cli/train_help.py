"""What `bregbench-train --help` shows: the groups with their options, read from file names alone."""

from __future__ import annotations

import textwrap

from bregbench.schema.options import options

_WIDTH = 100
_HEAD = """\
bregbench-train: train one run, or a sweep of runs with -m.

  bregbench-train [-m] group=option ... key=value ...

A run consists of one option of every group. Values of the options are keys: method.lr=0.1.

Examples:
  bregbench-train dataset=digits model=mlp tracking=none
  bregbench-train dataset=fashion_mnist model=cnn method=linbreg method.lam=0.1 seed=1
  bregbench-train method=sgd objective=lasso trainer.epochs=20 trainer/schedule=cosine
  bregbench-train -m method=sgd,linbreg,adabreg seed=0,1,2
  bregbench-train 'evaluators=[accuracy,lipschitz]' --cfg job      (shows the config and trains nothing)

Groups and their options:
"""
_FOOT = """
Options of the command:
  -m, --multirun   train every combination of values with commas
  --cfg job        show all keys and values of the run, and train nothing
  --hydra-help     show the options of Hydra, which reads the command line
  --version        show the version of bregbench
"""


def help_text() -> str:
    """The help, in lines of at most 100 characters where words allow it."""
    groups = options()
    column = max(map(len, groups)) + 4
    lines = [
        textwrap.fill(
            ", ".join(known),
            _WIDTH,
            initial_indent=f"  {group}=".ljust(column),
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )
        for group, known in groups.items()
    ]
    return _HEAD + "\n".join(lines) + "\n" + _FOOT
