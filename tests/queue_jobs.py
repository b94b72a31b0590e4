"""Jobs for the queue's processes: a module that is imported there in no time."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


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
    (Path(config.folder) / config.experiment_name).touch()
    return None
