"""What W&B has kept offline, brought to its server by its own client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bregbench.foundations.errors import BenchError
from bregbench.storage.tracking import unreachable

_OFFLINE = "offline-run-*"
#: ends with what W&B writes beside a file that its server has
_SYNCED = ".synced"


def offline_runs(folders: list[str]) -> list[Path]:
    """The folders that W&B wrote offline at or below the given ones, without those that are synced already.

    Raises:
        BenchError: a folder does not exist.
    """
    found: set[Path] = set()
    for folder in folders:
        if not Path(folder).is_dir():
            raise BenchError(f"runs={folder} is not a folder: give a run directory or one above it")
        found |= {path for path in Path(folder).rglob(_OFFLINE) if path.is_dir()}
    return sorted(path for path in found if not any(path.glob(f"*{_SYNCED}")))


def refuse_unreachable() -> None:
    """Refuse to begin where the server does not answer: its client would try again for hours.

    Raises:
        BenchError: names the server.
    """
    silent = unreachable()
    if silent is not None:
        raise BenchError(f"{silent} does not answer: give the same command again when it does")


def sync(path: Path) -> None:
    """Bring one folder to the server that the client is logged in to.

    Raises:
        BenchError: the client is missing, or it did not succeed; what is brought already stays so.
    """
    command = [sys.executable, "-m", "wandb", "sync", str(path)]
    # Else its lines are coloured and wrapped for a terminal that is not there.
    done = subprocess.run(
        command,
        env=os.environ | {"WANDB_SILENT": "false", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        why = lines[-1] if lines else f"exit code {done.returncode}"
        raise BenchError(
            f"{path} was not synced: {why}; log in with `wandb login`, or install wandb, and give the "
            "same command again: what is synced stays so"
        )
