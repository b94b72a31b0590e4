"""What `bregbench train --help` shows: the groups with their options, read from file names alone."""

from __future__ import annotations

from bregbench.cli.help import definitions, filled
from bregbench.schema.options import defaults, options

_HEAD = """\
bregbench train: train one run, or a sweep of runs with -m.

  bregbench train [-m] group=option ... key=value ...

A run consists of one option of every group; the keys of an option have values,
such as method.lr=0.1. The same command resumes an interrupted run.

Examples:
  bregbench train dataset=digits model=mlp tracking=none
  bregbench train dataset=mnist model=cnn method=linbreg method.lam=0.1 seed=1
  bregbench train method=sgd objective=lasso trainer/schedule=cosine
  bregbench train -m method=sgd,linbreg,adabreg seed=0,1,2
  bregbench train 'evaluators=[accuracy,lipschitz]' --cfg job

Groups and their options (in brackets what a run has where none is chosen):
"""
#: what each group decides
GROUPS = {
    "dataset": "which images or points",
    "evaluators": "what is measured at the end, a list",
    "method": "what trains the network",
    "method/penalty": "what the method makes sparse",
    "method/solver": "how lifted training solves for its variables",
    "model": "the network",
    "objective": "what is differentiated",
    "objective/penalty": "what the objective makes sparse",
    "phases": "parts of a run: pruning, tickets, growing, transfer",
    "task": "what the network is asked to do",
    "tracking": "where metrics are mirrored",
    "trainer": "length, batches, precision, device",
    "trainer/schedule": "how the learning rate changes",
}
_KEYS = {
    "trainer.epochs=20": "how long; batches by trainer.batch_size=64",
    "seed=1": "of all random streams",
    "data.root=PATH": "where data sets lie; data.download=true fetches them",
    "trainer.device=cuda": "where; auto by default",
    "experiment_name=NAME": "folder of the run below runs_dir (runs)",
}
_FLAGS = {
    "-m, --multirun": "train every combination of values with commas",
    "--cfg job": "show the choices, keys and values of the run; train nothing",
    "--hydra-help": "show the options of Hydra, which reads the command line",
    "--version": "show the version of bregbench",
}


def help_text() -> str:
    """The help, in lines of 80 columns."""
    chosen = defaults()
    groups = "".join(_group(name, known, chosen.get(name)) for name, known in options().items())
    keys, flags = definitions(_KEYS), definitions(_FLAGS)
    return f"{_HEAD}{groups}\nKeys that are used most:\n{keys}\nOptions of the command:\n{flags}"


def _group(name: str, known: dict[str, str], default: str | None) -> str:
    head = f"  {name}=  {GROUPS[name]}" + (f" [{default}]" if default else "")
    return f"{head}\n{filled(', '.join(known), indent=6)}\n"
