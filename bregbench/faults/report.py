"""The counts of a campaign as JSON and as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bregbench.faults.kinds import FAULTS, GOOD
from bregbench.foundations.files import write_json, write_text

_PREAMBLE = """# Fault campaign

{faults} faults in {seconds} s on {cpu} ({configurations} configurations, torch {torch}, {date},
commit {commit}, seed {seed}). Regenerate with `make faults`; where a kill meets a run depends on the machine.

`exact`: the run ended bit by bit like one that was left alone; `refused`: one line named what is wrong, and
the run does not look complete; `kept`: nothing of what the commands wrote is lost; `other`: a silent fault or
a bug.

| fault | tried | exact | refused | kept | other |
|---|---:|---:|---:|---:|---:|
"""


def write_report(
    outcomes: Sequence[tuple[str, str, str]], setting: dict[str, Any], folder: Path
) -> list[Path]:
    """Write both files into the folder; their paths.

    Args:
        outcomes: fault, run and what came of it.
        setting: when, where and how.
        folder: where to.
    """
    counts = {fault: Counter(what for f, _, what in outcomes if f == fault) for fault in FAULTS}
    by_subject = {name: sum(o[1] == name for o in outcomes) for _, name, _ in outcomes}
    paths = [folder / "faults.json", folder / "faults.md"]
    write_json(paths[0], setting | {"counts": counts, "by configuration": by_subject})
    text = _PREAMBLE.format(faults=len(outcomes), **setting)
    write_text(paths[1], text + "".join(map(_line, counts, counts.values())))
    return paths


def _line(fault: str, counts: Counter[str]) -> str:
    good = [counts[what] for what in GOOD]
    cells = [fault, counts.total(), *good, counts.total() - sum(good)]
    return f"| {' | '.join(map(str, cells))} |\n"
