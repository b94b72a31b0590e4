"""What `bregbench-train --help` shows: the groups with their options, read from file names alone."""

from __future__ import annotations

import textwrap
from importlib import resources
from importlib.resources.abc import Traversable

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
#: folders of configs that are no groups of a run: tables and figures, and the parts of `phases`
_OTHER = ("table", "figure", "transform")


def help_text() -> str:
    """The help, in lines of at most 100 characters where words allow it."""
    groups = _groups(resources.files("bregbench.configs"), "")
    column = max(map(len, groups)) + 4
    lines = [
        textwrap.fill(
            ", ".join(options),
            _WIDTH,
            initial_indent=f"  {group}=".ljust(column),
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )
        for group, options in groups.items()
    ]
    return _HEAD + "\n".join(lines) + "\n" + _FOOT


def _groups(folder: Traversable, prefix: str) -> dict[str, list[str]]:
    """The options of every group below a folder, by the group's name."""
    found: dict[str, list[str]] = {}
    for child in sorted(folder.iterdir(), key=lambda child: child.name):
        if not child.is_dir() or (not prefix and child.name in _OTHER):
            continue
        name = f"{prefix}{child.name}"
        options = [
            f.name.removesuffix(".yaml") for f in child.iterdir() if f.name.endswith(".yaml")
        ]
        if options:
            found[name] = sorted(options)
        found |= _groups(child, f"{name}/")
    return found
