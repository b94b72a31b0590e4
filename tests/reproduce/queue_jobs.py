"""Jobs for the queue's processes: a module that is imported there in no time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from bregbench.storage.locking import hold

_held = contextlib.ExitStack()


@dataclass
class FakeConfig:
    """Stands for the config of a run."""

    experiment_name: str
    folder: str
    seed: int = 0


def train(config: FakeConfig, deadline: float | None) -> str | None:
    """Leave a file, some time later if slow; or be killed as by a lack of memory."""
    if config.experiment_name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if config.experiment_name == "slow":
        time.sleep(1)
    if config.experiment_name in ("endless", "idle"):
        # Held until this process ends, however it ends.
        _held.enter_context(
            hold(Path(config.folder) / f"{config.experiment_name}.lock", seconds=0, advice="")
        )
    if config.experiment_name == "endless":
        time.sleep(3600)
    (Path(config.folder) / config.experiment_name).touch()
    return None
