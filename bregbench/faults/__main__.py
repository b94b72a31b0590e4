"""`make faults`: does faults to small runs at random, and counts what comes of them."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.console import fail
from bregbench.foundations.durations import parse_duration

#: a fault, the run that it was done to, what came of it
Outcome = tuple[str, str, str]


@dataclass
class Options:
    """Kill runs, damage their files and let commands meet, at random; count what comes of it."""

    budget: str = option("5m", help="stop after 5m, 1h, ...")
    seed: int = option(0, help="of the random draws")
    output: str = option("results/faults", help="folder for the counts")


def main() -> None:
    """Entry point; exits with 1 where a fault was silent."""
    sys.exit(guarded(_command))


def _command() -> int:
    options = parse(Options, sys.argv[1:], command="python -m bregbench.faults")
    budget = parse_duration(options.budget, key="budget")
    import torch

    from bregbench.faults.kinds import GOOD
    from bregbench.faults.report import write_report

    torch.set_num_threads(1)
    begun = time.monotonic()
    # In memory where that is possible: a kill is no loss of power, and disks would take most of the time.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        outcomes = list(_campaign(random.Random(options.seed), Path(folder), begun + budget))
    bad = [outcome for outcome in outcomes if outcome[2] not in GOOD]
    for fault, subject, what in bad:
        fail(f"{fault}: {subject}: {what}")
    setting = _setting(options, time.monotonic() - begun, subjects=len({o[1] for o in outcomes}))
    paths = write_report(outcomes, setting, Path(options.output))
    counts = Counter(what if what in GOOD else "silent or a bug" for _, _, what in outcomes)
    print(f"{len(outcomes)} faults: {', '.join(f'{n} {what}' for what, n in counts.most_common())}")
    print(f"written: {', '.join(map(str, paths))}")
    return 1 if bad else 0


def _campaign(draw: random.Random, folder: Path, deadline: float) -> Iterator[Outcome]:
    """Faults in rounds over the runs: each is killed first, and then meets one fault after the other."""
    from bregbench.faults.kinds import FAULTS, Subject
    from bregbench.faults.subjects import SUBJECTS, config_of

    subjects: dict[str, Subject] = {}
    for number in range(10**6):
        for place, name in enumerate(SUBJECTS):
            if time.monotonic() > deadline:
                return
            if name not in subjects:
                own = folder / str(place)
                own.mkdir()
                subjects[name] = Subject(config_of(name, own / "whole"), own)
                yield "killed at random, up to three times", name, _fault(subjects[name], 0, draw)
            turn = (number * len(SUBJECTS) + place) % len(FAULTS)
            yield list(FAULTS)[turn], name, _fault(subjects[name], turn, draw)


def _fault(subject: Any, turn: int, draw: random.Random) -> str:
    from bregbench.faults.kinds import FAULTS

    return list(FAULTS.values())[turn](subject, draw)


def _setting(options: Options, seconds: float, *, subjects: int) -> dict[str, Any]:
    import torch

    from bregbench.foundations.provenance import commit, device_name

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": device_name(torch.device("cpu")),
        "torch": torch.__version__,
        "commit": commit() or "unknown",
        "budget": options.budget,
        "seed": options.seed,
        "seconds": round(seconds),
        "configurations": subjects,
    }


if __name__ == "__main__":
    main()
