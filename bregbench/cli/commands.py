"""The sub-commands of `bregbench`."""

from __future__ import annotations

#: every sub-command is `main` of the module of its name
COMMANDS = {
    "train": "train one run, or a sweep of runs with -m",
    "evaluate": "measure a finished run with more evaluators",
    "export": "write the network of a run as one file that runs elsewhere",
    "plot": "draw any metric of saved runs against any other",
    "compare": "show what differs between runs: config and metrics",
    "runs": "list, show, pack, merge, pull and sync runs and records",
    "reproduce": "train what a published table misses, then render it",
    "search": "find a setting that a paper does not state",
    "status": "show which published results are still missing",
    "doctor": "show versions, devices and data sets found",
}
